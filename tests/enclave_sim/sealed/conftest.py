"""The clinic, for every test of its own."""

import pytest

from .clinic import Source, clinic


@pytest.fixture
def source() -> Source:
    return clinic()
