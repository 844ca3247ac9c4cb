"""The libraries that are compared, how each is installed, and what each cannot do.

`cannot` was tried or read in the versions that `requirements` gives; say there what an analyst would miss first.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT = "unit"
ROW = "row"
NOTHING = "nothing"


@dataclass(frozen=True)
class Peer:
    """One line of the table.

    `script` is a file of `scripts/`, run by a Python that has `requirements`; without requirements, a module of
    this package.
    `protects` is whose rows (ε, δ) is about: all of a unit or a single one, `bound` how far one unit may count.
    """

    name: str
    script: str
    requirements: tuple[str, ...]
    protects: str
    bound: str
    cannot: str
    needs: str | None = None
    """A program that must be there."""


PEERS = (
    Peer(
        "Yingbi",
        "ours",
        (),
        UNIT,
        "norm of a unit's row counts 18, by weighing its rows down",
        "COUNT(DISTINCT) of anything but the unit; joins with look-up tables.",
    ),
    Peer(
        "OpenDP (Polars)",
        "opendp_polars",
        ("opendp[polars]==0.16.*", "pyarrow"),
        UNIT,
        "5 rows of a unit in each group, the others dropped",
        "SQL; VARIANCE; COVAR, CORR; MAX and MIN other than as a quantile among given candidates. "
        'truncate_num_groups fails with its default, keep="sample": two columns of one name.',
    ),
    Peer(
        "Tumult Analytics",
        "tumult",
        ("tmlt.analytics==0.21.*", "numpy<2", "pyspark==3.5.*", "pyarrow"),
        UNIT,
        "5 rows of a unit in each group, the others dropped",
        "SQL; COVAR, CORR; run without Java and Spark; tell the error of an answer in its public interface.",
        needs="java",
    ),
    Peer(
        "SmartNoise SQL",
        "smartnoise",
        ("smartnoise-sql==1.0.*", "opendp<0.15", "pyarrow"),
        UNIT,
        "60 rows of a unit, the others dropped",
        "MEDIAN, quantiles, MAX, MIN; an aggregate of an expression, as SUM(CASE ...) or SUM(x * x); a join; "
        "sharing one ε among columns under zCDP: each has its own, and they add up.",
    ),
    Peer(
        "Qrlew",
        "qrlew",
        ("pyqrlew==0.9.*", "numpy<2", "duckdb>=1.4", "sqlglot>=30,<31"),
        UNIT,
        "norm of a unit's row counts 18, by weighing its rows down",
        "MEDIAN, quantiles, MAX; VARIANCE as it should be (seven times too large on this data); exact noise: it is "
        "floating point from the database's own RANDOM(); tell the error of an answer. Takes the table's size "
        "for public.",
    ),
    Peer(
        "PipelineDP",
        "pipeline_dp_local",
        ("pipeline-dp==0.3.*", "dp-accounting==0.6.*", "pandas", "pyarrow"),
        UNIT,
        "5 rows of a unit in each group, the others dropped",
        "SQL; filters and joins, which are left to the pipeline before it; COVAR, CORR; tell the error of an average.",
    ),
    Peer(
        "diffprivlib",
        "diffprivlib_tools",
        ("diffprivlib==0.6.*", "scikit-learn<1.9", "pandas", "pyarrow"),
        ROW,
        "a row, which is a far weaker promise",
        "Protect a unit of several rows; SQL; GROUP BY; joins; (ε, δ) with Gaussian noise in its aggregates.",
    ),
    Peer("DuckDB", "plain", (), NOTHING, "none", "Privacy: the plain query, for its time."),
)
