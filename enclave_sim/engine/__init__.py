"""Run a plan on a shard.

- `protocol`: what an engine is: one method;
- `plan_reading`: what every engine reads off a plan;
- `duckdb_engine`: the engine that runs, with `scan` (rows as the engine sees them), `predicates` (filter
  to SQL) and `totals` (clip and add up);
- `reference_engine`: the same in plain Python, slow and obviously right, which every engine must equal.

What a plan's nodes mean is written where it is decided: `tests/enclave_sim/engine` has a sentence for each.
NaN is no value: an engine takes it for NULL, in rows and in literals.
"""
