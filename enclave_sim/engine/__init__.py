"""Run a plan on a shard.

- `protocol`: what an engine is;
- `plan_reading`: what every engine reads off a plan;
- `duckdb_engine`: the engine that runs. `scan` reads rows, all rows of some units at a time; `scanned` takes columns
  as they are stored, and `query` all from DuckDB (`database`, `sql_relations`, `sql_expressions`, `sql_functions`);
  `inputs` are what statistics take, `groups` finds each row's group, `terms` puts values on the grid, and `per_unit`
  clips every unit and adds up, over the (unit, group) pairs of `entries`, in memory of `scratch`, and by `native`
  code where it was compiled;
- `reference_engine`: the same in plain Python (`reference_relations`, `reference_expressions`,
  `reference_functions`), slow and obviously right, which every engine must equal.

What a plan's nodes mean is written where it is decided: `tests/enclave_sim/engine` has a sentence for each.
NaN is no value: an engine takes it for NULL, in rows and in literals.
"""
