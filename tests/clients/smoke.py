"""The generated Python client against a server: a pool, a reservation, its release, a search, a refusal."""

import json
import sys

from openapi_client import ApiClient, ApiException, AvailabilityApi, AvailabilityQuery, Configuration, PoolsApi, PoolSpec
from openapi_client import Problem, ReservationsApi, Reserve

url, planner, checkout = sys.argv[1:4]


def client(token):
    return ApiClient(Configuration(host=url, access_token=token))


pools = PoolsApi(client(planner))
pool = pools.define_pool("python", PoolSpec(limits={"orders": 2, "crates": 30}, areas=["SG-01"], labels={"fleet": "van"}))
assert (pool.version, pool.remaining) == (1, {"orders": 2, "crates": 30}), pool
pool = pools.get_pool("python", fresh=True)
assert pool.mode.value == "open" and pool.window is None, pool

reservations = ReservationsApi(client(checkout))
reserve = Reserve(pool="python", demand={"orders": 1, "crates": 4}, hold_ttl_ms=60000)
held = reservations.reserve(reserve, idempotency_key="order-1")
assert held.status.value == "held" and held.hold_until is not None and held.proof.seq > 0, held
again = reservations.reserve_with_http_info(reserve, idempotency_key="order-1")
assert again.data.reservation == held.reservation and again.headers["idempotent-replayed"] == "true", again
assert reservations.confirm(held.reservation).status.value == "confirmed"

availability = AvailabilityApi(client(checkout))
found = availability.availability(fresh=True, availability_query=AvailabilityQuery(areas=["SG-01"], demand={"orders": 1}))
assert [(pool.pool, pool.remaining["orders"]) for pool in found.pools] == [("python", 1)] and found.next is None, found

assert reservations.release(held.reservation).status.value == "released"
try:
    reservations.reserve(Reserve(pool="python", demand={"orders": 3}))
except ApiException as refused:
    problem = Problem.from_json(refused.body)
    assert (refused.status, problem.code, problem.outcome.value) == (409, "over_limit", "not_applied"), problem
    newer = Problem.from_json(json.dumps({**json.loads(refused.body), "newer": 1}))
    assert newer.code == problem.code, "what a newer server adds is ignored"
    assert problem.dimension == "orders" and problem.remaining == {"orders": 2, "crates": 30}, problem
else:
    raise AssertionError("three orders do not fit")
print("the generated Python client works")
