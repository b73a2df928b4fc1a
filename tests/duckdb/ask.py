"""Asks DuckDB the statement of its argument, and prints its rows as JSON.

A row is an object by its columns, and a time in it is a number of microseconds since 1970."""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def plain(value):
    if not isinstance(value, datetime):
        return value
    value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return (value - EPOCH) // timedelta(microseconds=1)


def ask(connection, statement):
    connection.execute(statement)
    names = [column[0] for column in connection.description]
    return [dict(zip(names, map(plain, row))) for row in connection.fetchall()]


connection = duckdb.connect()
for extension in Path(duckdb.__file__).parent.parent.glob("duckdb_ext/extensions/*/*/*.duckdb_extension"):
    connection.load_extension(str(extension))
json.dump(ask(connection, sys.argv[1]), sys.stdout)
