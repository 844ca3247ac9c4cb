"""The three enclaves of the attacks, for the tests of their parts."""

from tests.attacks.conftest import trio, trio_template

__all__ = ["trio", "trio_template"]
