"""A program that imports what the enclaves do not have is refused before anything is asked, with the place."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import Dataset as DatasetMessage
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, ProgramEnvironment
from yingbi.datasets import Dataset
from yingbi.imports import check_imports

ENVIRONMENT = ProgramEnvironment(
    packages=["python 3.11.9", "numpy 2.1.0", "sklearn 1.6.0 or 1.7.0"], modules=["collections", "math", "os"]
)
RUN = "def run(tables):\n    return [1]\n"
THERE = [
    "import numpy",
    "import numpy.linalg as la, math",
    "from sklearn.linear_model import LinearRegression",
    "from __future__ import annotations\nfrom collections.abc import Mapping",
    "try:\n    import torch\nexcept ImportError:\n    torch = None",
    "import os.path",
]
MISSING = {
    "import torch": ("torch", "1:1"),
    "import math, torch.nn": ("torch", "1:1"),
    "import math\nfrom statsmodels import api": ("statsmodels", "2:1"),
    "def f():\n    import sqlite3": ("sqlite3", "2:5"),
    "if True:\n    from numpi import linalg": ("numpi", "2:5"),
}


@pytest.mark.parametrize("source", THERE)
def test_what_is_there_may_be_imported(source: str) -> None:
    check_imports(f"{source}\n{RUN}".encode(), ENVIRONMENT)


@pytest.mark.parametrize("source", MISSING)
def test_what_is_missing_is_named_with_its_place(source: str) -> None:
    name, position = MISSING[source]
    with pytest.raises(Problem) as refused:
        check_imports(f"{source}\n{RUN}".encode(), ENVIRONMENT)
    assert (refused.value.code, refused.value.position) == ("program_import", position)
    assert repr(name) in refused.value.message
    assert "numpy 2.1.0" in (refused.value.hint or "")


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(Problem, match="numpi") as refused:
        check_imports(b"import numpi", ENVIRONMENT)
    assert (refused.value.hint or "").startswith("did you mean numpy?")


def test_it_is_refused_before_the_zone_hears_of_it() -> None:
    """The gateway here is none: a preview that asked it anything would fail otherwise."""
    message = DatasetMessage(declaration=DatasetDeclaration(dataset="clinic"), programs=ENVIRONMENT)
    dataset = Dataset(message, None)  # type: ignore[arg-type]
    assert dataset.packages[1:] == ("numpy 2.1.0", "sklearn 1.6.0 or 1.7.0")
    program = dataset.program(f"import torch\n{RUN}".encode(), "x: float[0,1]")
    for ask in (program.preview, program.submit):
        with pytest.raises(Problem) as refused:
            ask(1.0)
        assert refused.value.code == "program_import"
