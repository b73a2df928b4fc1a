-- How full is each slot, and how full was it at most?
SELECT pool, dimension, used, peak_used, limit_units, utilisation FROM slot_utilisation ORDER BY pool, dimension;

-- For how long was a slot sold out?
SELECT pool, dimension, first_full_at, minutes FROM sold_out ORDER BY pool, dimension;

-- Why were callers refused, and how many of them were there, without their retries?
SELECT day, ask, reason, dimension, attempts, keys FROM refusals ORDER BY day, ask, reason;

-- How early do people book?
SELECT hours_before, reservations FROM lead_times ORDER BY hours_before;

-- How many holds become orders?
SELECT day, holds, confirmed, expired, released, retired, "open" FROM hold_conversion ORDER BY day;

-- Which slots have promised more than they have?
SELECT pool, dimension, used, limit_units, over FROM over_committed ORDER BY pool, dimension;

-- Who changed which slot, and how?
SELECT decided_at, actor, pool, kind, limits_before, limits FROM planner_edits ORDER BY decided_at, pool;

-- What did each slot lose, and how much of it found another slot?
SELECT slot_day, pool, reason, dimension, keys, units, accepted_elsewhere FROM lost_demand ORDER BY pool, reason, dimension;

-- How many of the refused keys would a limit have admitted that was higher by two? (An estimate, by `raise_needed`.)
SELECT pool, dimension, count(*) AS keys, sum(units) AS units FROM lost_demand_keys WHERE raise_needed <= 2 GROUP BY pool, dimension ORDER BY pool;

-- What happened to one order, from the first event to the last?
SELECT seq, decided_at, kind, outcome, pool, status, demand, used, lead_time FROM decisions WHERE order_ref = 'order-7' OR reservation IN (SELECT reservation FROM reservations WHERE order_ref = 'order-7') ORDER BY "partition", seq;
