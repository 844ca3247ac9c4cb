"""The three enclaves of the attacks, for the tests of their parts."""

from tests.attacks.conftest import safe_primes, trio, trio_template

__all__ = ["safe_primes", "trio", "trio_template"]
