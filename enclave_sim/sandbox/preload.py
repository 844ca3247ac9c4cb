"""What programs can import: all of it is loaded before the zygote gives up the file system, and nothing afterwards."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Collection

from enclave_sim.sandbox.limits import MODELS, OPTIONAL

PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "sklearn", "dateutil", "joblib")
NEEDED = ("numpy", "pandas", "pyarrow")

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "dateutil": "python-dateutil"}
"""Of packages that are imported by another name."""

_STANDARD = [
    "abc",
    "argparse",
    "array",
    "ast",
    "atexit",
    "base64",
    "binascii",
    "bisect",
    "builtins",
    "calendar",
    "cmath",
    "codecs",
    "collections",
    "collections.abc",
    "concurrent.futures",
    "contextlib",
    "contextvars",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "errno",
    "fractions",
    "functools",
    "gc",
    "hashlib",
    "heapq",
    "hmac",
    "importlib",
    "inspect",
    "io",
    "itertools",
    "json",
    "keyword",
    "linecache",
    "locale",
    "logging",
    "math",
    "numbers",
    "operator",
    "os",
    "pathlib",
    "pickle",
    "platform",
    "pprint",
    "queue",
    "random",
    "re",
    "reprlib",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "stat",
    "statistics",
    "string",
    "struct",
    "subprocess",
    "sys",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "timeit",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "uuid",
    "warnings",
    "weakref",
    "zlib",
    "zoneinfo",
    "ctypes",
    "ctypes.util",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "encodings.utf_16",
    "encodings.cp1252",
]
_OF = {
    "numpy": "fft linalg ma polynomial random ctypeslib lib.stride_tricks lib.recfunctions lib.scimath testing",
    "pandas": "api api.types api.extensions api.indexers tseries.offsets tseries.frequencies plotting testing",
    "pyarrow": "compute ipc types",
    "scipy": "cluster.hierarchy cluster.vq fft integrate interpolate linalg ndimage optimize signal spatial "
    "spatial.distance sparse sparse.linalg sparse.csgraph special stats stats.mstats stats.qmc",
    "sklearn": "cluster compose covariance datasets decomposition discriminant_analysis ensemble feature_extraction "
    "feature_selection gaussian_process impute inspection isotonic kernel_approximation kernel_ridge linear_model "
    "manifold metrics mixture model_selection multiclass naive_bayes neighbors neural_network pipeline "
    "preprocessing random_projection svm tree",
}


def load(optional: Collection[str] = OPTIONAL) -> None:
    """Import everything, of the optional packages these alone; and use it, for what packages import only then.

    For models numpy and their runtime alone: they are given no tables, and every package makes a fork dearer.

    Raises ImportError.
    """
    for name in _STANDARD:
        importlib.import_module(name)
    importlib.import_module("enclave_sim.sandbox.blocks")
    if MODELS in optional:
        importlib.import_module("numpy")
        importlib.import_module(MODELS)
        return
    for name in NEEDED:
        importlib.import_module(name)
    for package, modules in _OF.items():
        if (package not in OPTIONAL or package in optional) and importlib.util.find_spec(package):
            importlib.import_module(package)
            for module in modules.split():
                importlib.import_module(f"{package}.{module}")
    _use_once()


def _use_once() -> None:
    import pandas as pd
    import pyarrow as pa

    pa.set_cpu_count(1)
    frame = pa.table({"i": [1, 2, 3], "f": [1.0, 2.0, None], "s": ["a", "b", "a"], "b": [True, False, None]})
    days = pd.to_datetime(["2024-01-01", "2024-02-03", "2025-04-05"])
    table = frame.to_pandas(use_threads=False).assign(d=days)
    table.groupby("s").agg({"i": "sum", "f": "mean"})
    table.merge(table, on="s").sort_values("i_x").describe()
    table.pivot_table(index="s", columns="i", values="f", aggfunc="median")
    table["s"].str.upper().value_counts()
    table["d"].dt.tz_localize("UTC").dt.month.rolling(2).mean()
    table.set_index("d").resample("ME")["i"].sum()
    table.query("i > 1").eval("i + f").quantile(0.5)
    pd.get_dummies(table["s"])
    pd.cut(table["i"], 2)
    table[["i", "f"]].corr()
    str(table)


def versions() -> list[str]:
    """Of Python and of the packages that are loaded."""
    loaded = [name for name in (*PACKAGES, MODELS) if name in sys.modules]
    return [_python(), *(f"{name} {sys.modules[name].__version__}" for name in loaded)]


def installed() -> list[str]:
    """What `versions` says once everything is loaded, without loading anything."""
    found = [name for name in PACKAGES if importlib.util.find_spec(name)]
    return [_python(), *(f"{name} {importlib.metadata.version(_DISTRIBUTIONS.get(name, name))}" for name in found)]


def standard() -> list[str]:
    """Modules of Python's own library that programs can count on, by their first names."""
    return sorted({name.partition(".")[0] for name in _STANDARD})


def _python() -> str:
    return f"python {'.'.join(map(str, sys.version_info[:3]))}"
