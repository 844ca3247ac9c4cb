"""Every specification holds for every engine."""

import pytest

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import Engine
from enclave_sim.engine.reference_engine import ReferenceEngine


@pytest.fixture(params=[DuckDBEngine, ReferenceEngine])
def engine(request: pytest.FixtureRequest) -> Engine:
    made: Engine = request.param()
    return made
