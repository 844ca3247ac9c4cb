"""Every module of the SDK is in the lists of .importlinter that it must not be imported from."""

import configparser
import pkgutil
from pathlib import Path

import pytest
import yingbi

LISTS = Path(__file__).parents[1] / ".importlinter"


@pytest.mark.parametrize("contract", ["enclave", "gateway-sdk", "api"])
def test_no_module_of_the_sdk_is_left_out(contract: str) -> None:
    lists = configparser.ConfigParser()
    lists.read(LISTS)
    modules = {f"yingbi.{found.name}" for found in pkgutil.iter_modules(yingbi.__path__)}
    listed = set(lists[f"importlinter:contract:{contract}"]["forbidden_modules"].split())
    assert modules - {"yingbi.api", "yingbi.__main__"} <= listed
