"""Cases that say nothing of the service: their makers and it mean different things by the same words."""

import math
import unicodedata
from datetime import datetime

import schemathesis


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def texts(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def may_be_a_name(text):
    """The pattern of names cannot say all of what they are."""
    refused = {"Cf", "Cn", "Co", "Cs"}
    is_composed = unicodedata.is_normalized("NFC", text)
    return is_composed and len(text.encode(errors="replace")) <= 64 and not refused & set(map(unicodedata.category, text))


def in_order(window):
    try:
        times = {name: datetime.fromisoformat(time.upper()) for name, time in window.items() if isinstance(time, str)}
        start, end, cutoff = (times.get(name) for name in ("start", "end", "cutoff"))
        return not (start and end and start >= end) and not (cutoff and end and cutoff > end)
    except (TypeError, ValueError):
        return True


@schemathesis.hook
def filter_case(context, case):
    # JSON Schema takes 3.0 for an integer; here units are written as they are counted.
    if any(math.isfinite(number) and number.is_integer() for number in numbers(case.body)):
        return False
    headers = {name.lower() for name in case.headers or {}}
    body = case.body if isinstance(case.body, dict) else {}
    window = body.get("window")
    names = [body.get("areas"), body.get("labels"), body.get("order_ref")]
    if not all(may_be_a_name(text) for text in texts(names)):
        return False
    # What no schema can say: these two exclude each other, a change that changes nothing is none, and a slot ends after it
    # begins.
    if {"if-match", "if-none-match"} <= headers or body.get("labels") == {}:
        return False
    if isinstance(window, dict) and not in_order(window):
        return False
    # A cursor comes of a page of the same pool, which no made-up id does.
    if str((case.query or {}).get("cursor", "")).startswith("hr_"):
        return False
    # A number in place of a text, which is a text again once it is in a header.
    if str((case.headers or {}).get("If-Match")) == "0":
        return False
    # Whatever a header that nobody knows says, it does no harm.
    return not any("schemathesis" in name for name in headers)
