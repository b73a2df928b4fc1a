"""Validates objects against the schemas of several versions of Kubernetes, strictly: an unknown field is an error.

    validate.py VERSION... < OBJECTS

OBJECTS is a JSON array of [name, object]. Objects of these groups are not of Kubernetes, and are passed over. Prints a line
for each error; the exit code is 0 when there is none.
"""

import json
import sys

import kubernetes_validate

OTHERS = ("monitoring.coreos.com/", "kafka.strimzi.io/")

versions, errors, seen = sys.argv[1:], 0, set()
for name, thing in json.load(sys.stdin):
    text = json.dumps(thing, sort_keys=True)
    if text in seen or thing["apiVersion"].startswith(OTHERS):
        continue
    seen.add(text)
    for version in versions:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            print(f"{name}: Kubernetes {version}: {where}: {error.message}")
            errors += 1
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.VersionNotSupportedError) as error:
            print(f"{name}: Kubernetes {version}: {error.message}")
            errors += 1
print(f"{len(seen)} objects, {len(versions)} versions, {errors} errors", file=sys.stderr)
sys.exit(errors > 0)
