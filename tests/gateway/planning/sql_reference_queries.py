"""Clauses and aggregates by example, for docs/sql.md: the answer without noise is DuckDB's to the same query."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """A clause or an aggregate, in a whole query."""

    section: str
    written: str
    meaning: str
    example: str
    duckdb: str | None = None
    """What DuckDB is asked instead, where it answers something else to the same query."""
    within: float = 1e-3
    """How near the answer comes: values are rounded to a grid, quantiles to the ranges that rows are counted in."""


AGGREGATES = "Aggregates"
FORMULAS = "Arithmetic between aggregates"
GROUPS = "Groups"
ANSWER = "Which rows of the answer"
WINDOWS = "Window functions over the rows of the answer"
TABULATIONS = "Aggregates that are answered as rows"
SOURCES = "Joins and sub-queries"
LOOK_UPS = "Look-up tables"
UNITS = "Within a unit"

_OF = "FROM visits"
_LAST = "SELECT *, ROW_NUMBER() OVER (PARTITION BY person ORDER BY day DESC) AS place FROM visits"


def _per_unit(aggregate: str, rest: str = "") -> str:
    return f"SELECT AVG(x) AS x FROM (SELECT person, {aggregate} AS x FROM visits GROUP BY person){rest}"


QUERIES = (
    Query(AGGREGATES, "`COUNT(*)`", "rows", f"SELECT COUNT(*) AS n {_OF}"),
    Query(AGGREGATES, "`COUNT(x)`", "rows where x is not NULL", f"SELECT COUNT(pain) AS n {_OF}"),
    Query(AGGREGATES, "`COUNT_IF(c)`", "rows for which c is true", f"SELECT COUNT_IF(pain > 5) AS n {_OF}"),
    Query(
        AGGREGATES,
        "`COUNT(DISTINCT unit)`",
        "units that have a row",
        f"SELECT clinic, COUNT(DISTINCT person) AS n {_OF} GROUP BY clinic",
    ),
    Query(
        AGGREGATES,
        "`COUNT(DISTINCT x)`",
        "values of x that [enough units](#distinct-values) have",
        f"SELECT COUNT(DISTINCT city) AS n {_OF}",
    ),
    Query(
        AGGREGATES,
        "`COUNT(DISTINCT x)` of an expression, in groups",
        "the same, in each group",
        f"SELECT clinic, COUNT(DISTINCT urgent) AS n {_OF} GROUP BY clinic HAVING COUNT(DISTINCT urgent) > 1",
    ),
    Query(AGGREGATES, "`SUM(x)`", "sum", f"SELECT SUM(stay) AS days {_OF}"),
    Query(AGGREGATES, "`AVG(x)`, `MEAN(x)`", "mean", f"SELECT AVG(pain) AS pain {_OF}"),
    Query(AGGREGATES, "`VAR_POP(x)`", "variance", f"SELECT VAR_POP(pain) AS v {_OF}", within=5e-3),
    Query(
        AGGREGATES,
        "`VARIANCE(x)`, `VAR_SAMP(x)`",
        "variance of a sample: times n/(n − 1)",
        f"SELECT VARIANCE(pain) AS v {_OF}",
        within=5e-3,
    ),
    Query(AGGREGATES, "`STDDEV_POP(x)`", "its root", f"SELECT STDDEV_POP(stay) AS s {_OF}", within=5e-3),
    Query(
        AGGREGATES,
        "`STDDEV(x)`, `STDDEV_SAMP(x)`",
        "root of the variance of a sample",
        f"SELECT STDDEV(pain) AS s {_OF}",
        within=5e-3,
    ),
    Query(
        AGGREGATES,
        "`COVAR_POP(x, y)`",
        "covariance, over rows with both",
        f"SELECT COVAR_POP(pain, stay) AS c {_OF}",
        within=2e-2,
    ),
    Query(
        AGGREGATES, "`COVAR_SAMP(x, y)`", "times n/(n − 1)", f"SELECT COVAR_SAMP(pain, stay) AS c {_OF}", within=2e-2
    ),
    Query(AGGREGATES, "`CORR(x, y)`", "correlation, cut to [-1, 1]", f"SELECT CORR(pain, stay) AS r {_OF}"),
    Query(AGGREGATES, "`MEDIAN(x)`", "the middle", f"SELECT MEDIAN(pain) AS m {_OF}", within=0.3),
    Query(
        AGGREGATES,
        "`QUANTILE_CONT(x, q)`, `QUANTILE`, `APPROX_QUANTILE`",
        "below which the share q lies",
        f"SELECT QUANTILE_CONT(stay, 0.9) AS q {_OF}",
        within=1,
    ),
    Query(
        AGGREGATES,
        "`QUANTILE_CONT(x, [q, …])`",
        "a column for each, from the same counts",
        f"SELECT QUANTILE_CONT(pain, [0.25, 0.75]) AS q {_OF}",
        f"SELECT QUANTILE_CONT(pain, 0.25), QUANTILE_CONT(pain, 0.75) {_OF}",
        0.3,
    ),
    Query(
        AGGREGATES,
        "`PERCENTILE_CONT(q) WITHIN GROUP (ORDER BY x)`",
        "the same",
        f"SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY pain DESC) AS q {_OF}",
        within=0.3,
    ),
    Query(
        AGGREGATES,
        "`MIN(x)`",
        "the 0.5 % quantile, and the notes say so",
        f"SELECT MIN(stay) AS least {_OF}",
        f"SELECT QUANTILE_DISC(stay, 0.005) {_OF}",
        1,
    ),
    Query(
        AGGREGATES,
        "`MAX(x)`",
        "the 99.5 % quantile",
        f"SELECT MAX(stay) AS most {_OF}",
        f"SELECT QUANTILE_DISC(stay, 0.995) {_OF}",
        1,
    ),
    Query(
        AGGREGATES,
        "`… FILTER (WHERE c)`",
        "of the rows for which c is true",
        f"SELECT AVG(pain) FILTER (WHERE urgent) AS urgent, AVG(pain) AS pain {_OF}",
    ),
    Query(
        AGGREGATES,
        "several counts `FILTER (WHERE x < a)`, `COUNT_IF(x BETWEEN a AND b)`, …",
        "of ranges of one x: all for what one count costs if they are disjoint",
        "SELECT COUNT_IF(stay < 7) AS short, COUNT_IF(stay BETWEEN 7 AND 20) AS middle, COUNT_IF(stay > 20) AS long "
        f"{_OF}",
    ),
    Query(
        AGGREGATES,
        "an aggregate of an expression",
        "its bounds follow from those of its columns",
        f"SELECT SUM(IF(urgent, stay, 0)) AS days, AVG(pain * 10) AS p {_OF}",
        within=1e-2,
    ),
    Query(
        AGGREGATES,
        "bounds in the query",
        "for what has none by declaration",
        f"SELECT AVG(LEAST(GREATEST(weight, 0), 60)) AS w {_OF} WHERE weight IS NOT NULL",
    ),
    Query(
        FORMULAS, "`+` `-` `*` `/`", "x / 0 is NULL", f"SELECT 100 * SUM(stay) / COUNT(*) - 3 AS r {_OF}", within=0.1
    ),
    Query(
        FORMULAS,
        "`x / NULLIF(y, 0)`",
        "the same as x / y",
        f"SELECT COUNT_IF(urgent) / NULLIF(COUNT(*), 0) AS share {_OF}",
    ),
    Query(
        FORMULAS,
        "`ABS` `SQRT` `LEAST` `GREATEST`, `-x`",
        "of aggregates and numbers",
        f"SELECT SQRT(ABS(-SUM(stay))) AS a, LEAST(COUNT(*), 7) AS b, GREATEST(COUNT(pain), 7) AS c {_OF}",
        within=1e-2,
    ),
    Query(FORMULAS, "an alias of an item before", "the item", f"SELECT COUNT(*) AS n, n / 2 AS half {_OF}"),
    Query(
        GROUPS,
        "`GROUP BY` a column with values",
        "each declared value is a group",
        f"SELECT clinic, COUNT(*) AS n {_OF} GROUP BY clinic",
    ),
    Query(
        GROUPS,
        "`GROUP BY` several",
        "every combination",
        f"SELECT clinic, urgent, COUNT(*) AS n {_OF} GROUP BY clinic, urgent",
    ),
    Query(
        GROUPS,
        "by ranges",
        "numbers with bounds have few",
        f"SELECT FLOOR(pain / 5) * 5 AS low, COUNT(*) AS n {_OF} WHERE pain IS NOT NULL GROUP BY low",
    ),
    Query(
        GROUPS,
        "by part of a date",
        "as many groups as it has values",
        f"SELECT QUARTER(day) AS q, COUNT(*) AS n {_OF} GROUP BY q",
    ),
    Query(
        GROUPS,
        "by dates that `WHERE` bounds",
        "the days that it leaves",
        f"SELECT DATE_TRUNC('month', day) AS m, COUNT(*) AS n {_OF} WHERE YEAR(day) = 2024 GROUP BY m",
    ),
    Query(
        GROUPS,
        "by a condition or `CASE`",
        "the results that are written there",
        f"SELECT CASE WHEN stay > 14 THEN 'long' ELSE 'short' END AS c, COUNT(*) AS n {_OF} GROUP BY c",
    ),
    Query(
        GROUPS,
        "by place, `GROUP BY ALL`",
        "items of the SELECT list",
        f"SELECT clinic, AVG(pain) AS pain {_OF} GROUP BY ALL",
    ),
    Query(
        GROUPS,
        "`ROLLUP (a, b)`",
        "and totals over b, and over both",
        f"SELECT clinic, urgent, COUNT(*) AS n {_OF} GROUP BY ROLLUP (clinic, urgent)",
    ),
    Query(
        GROUPS,
        "`CUBE (a, b)`",
        "totals over each combination",
        f"SELECT clinic, urgent, AVG(pain) AS p {_OF} GROUP BY CUBE (clinic, urgent)",
    ),
    Query(
        GROUPS,
        "`GROUPING SETS ((a, b), (a), ())`",
        "the sets that are named",
        f"SELECT clinic, urgent, SUM(stay) AS s {_OF} GROUP BY GROUPING SETS ((clinic), (urgent), ())",
        within=1e-2,
    ),
    Query(
        GROUPS,
        "a column whose values nobody declared",
        "those that enough units have, in [two stages](#undeclared-keys)",
        f"SELECT city, COUNT(*) AS n {_OF} GROUP BY city",
    ),
    Query(
        ANSWER,
        "`HAVING`",
        "a condition on aggregates: comparisons, `BETWEEN`, `IN`, `IS NULL`, `AND`, `OR`, `NOT`",
        f"SELECT clinic, COUNT(*) AS n {_OF} GROUP BY clinic HAVING n BETWEEN 5 AND 500"
        " AND NOT (AVG(pain) >= 11 OR SUM(stay) IN (1, 2) OR AVG(stay) IS NULL)",
    ),
    Query(
        ANSWER,
        "comparisons in `HAVING`",
        "`=` `<>` `<` `<=` `>` `>=`",
        f"SELECT clinic, COUNT(*) AS n {_OF} GROUP BY clinic HAVING n > 1 AND n < 999 AND n <> 3 AND n <= 998"
        " AND COUNT(*) = n",
    ),
    Query(
        ANSWER,
        "`ORDER BY … [DESC] [NULLS FIRST]`",
        "keys and aggregates, those not shown too",
        f"SELECT QUARTER(day) AS q, COUNT(*) AS n {_OF} GROUP BY q ORDER BY n DESC, q",
    ),
    Query(
        ANSWER,
        "`LIMIT n OFFSET m`",
        "after the order",
        f"SELECT MONTH(day) AS m, COUNT(*) AS n {_OF} GROUP BY m ORDER BY m LIMIT 3 OFFSET 2",
    ),
    Query(
        WINDOWS,
        "`SUM(…) OVER ()`",
        "over all rows of the answer; so shares of a total",
        f"SELECT clinic, COUNT(*) AS n, n / SUM(n) OVER () AS share {_OF} GROUP BY clinic",
    ),
    Query(
        WINDOWS,
        "`OVER (PARTITION BY keys)`",
        "over the rows with the same keys",
        "SELECT clinic, urgent, COUNT(*) / SUM(COUNT(*)) OVER (PARTITION BY clinic) AS share"
        f" {_OF} GROUP BY clinic, urgent",
    ),
    Query(
        WINDOWS,
        "`OVER (… ORDER BY …)`",
        "from the first row to this one and those equal to it",
        f"SELECT QUARTER(day) AS q, SUM(COUNT(*)) OVER (ORDER BY q) AS so_far {_OF} GROUP BY q",
    ),
    Query(
        WINDOWS,
        "`AVG`, `MIN`, `MAX`, `COUNT`",
        "likewise; of values that are not NULL",
        "SELECT clinic, urgent, AVG(COUNT(*)) OVER w AS a, MIN(COUNT(*)) OVER w AS b, MAX(COUNT(*)) OVER w AS c,"
        f" COUNT(*) OVER w AS d, COUNT(AVG(pain)) OVER w AS e {_OF} GROUP BY clinic, urgent"
        " WINDOW w AS (PARTITION BY urgent)",
    ),
    Query(
        WINDOWS,
        "`ROWS BETWEEN … AND …`",
        "frames by place: `UNBOUNDED` or n `PRECEDING`, `CURRENT ROW`, n or `UNBOUNDED` `FOLLOWING`",
        "SELECT MONTH(day) AS m, AVG(COUNT(*)) OVER (ORDER BY m ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS quarter"
        f" {_OF} GROUP BY m",
    ),
    Query(
        WINDOWS,
        "`LAG(x, n, default)`, `LEAD`",
        "x of the row n before or after; n is 1 if not given",
        "SELECT QUARTER(day) AS q, COUNT(*) - LAG(COUNT(*)) OVER (ORDER BY q) AS more,"
        f" LEAD(COUNT(*), 2, 0) OVER (ORDER BY q) AS later {_OF} GROUP BY q",
    ),
    Query(
        WINDOWS,
        "`FIRST_VALUE(x)`, `LAST_VALUE(x)`",
        "x of the first or last row of the frame",
        "SELECT QUARTER(day) AS q, COUNT(*) / FIRST_VALUE(COUNT(*)) OVER (ORDER BY q) AS index,"
        " LAST_VALUE(COUNT(*)) OVER (ORDER BY q ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS latest"
        f" {_OF} GROUP BY q",
    ),
    Query(
        WINDOWS,
        "`ROW_NUMBER()`, `RANK()`, `DENSE_RANK()`",
        "places in the order; noise decides between rows that are near",
        "SELECT MONTH(day) AS m, ROW_NUMBER() OVER (ORDER BY COUNT(*) DESC, m) AS a,"
        " RANK() OVER (ORDER BY COUNT(*) DESC) AS b, DENSE_RANK() OVER (ORDER BY COUNT(*) DESC) AS c"
        f" {_OF} GROUP BY m",
    ),
    Query(
        WINDOWS,
        "`PERCENT_RANK()`, `CUME_DIST()`, `NTILE(n)`",
        "shares and parts of the order",
        "SELECT MONTH(day) AS m, PERCENT_RANK() OVER (ORDER BY COUNT(*)) AS a,"
        f" CUME_DIST() OVER (ORDER BY COUNT(*)) AS b, NTILE(5) OVER (ORDER BY COUNT(*), m) AS c {_OF} GROUP BY m",
    ),
    Query(
        WINDOWS,
        "`QUALIFY`",
        "a condition on window functions; after `HAVING`, before `ORDER BY` and `LIMIT`",
        "SELECT clinic, QUARTER(day) AS q, COUNT(*) AS n"
        f" {_OF} GROUP BY clinic, q QUALIFY ROW_NUMBER() OVER (PARTITION BY clinic ORDER BY n DESC, q) <= 2"
        " ORDER BY clinic, n DESC",
    ),
    Query(
        TABULATIONS,
        "`HISTOGRAM(x)`",
        "a row for each declared value, or for each of 10 ranges of x between its bounds",
        f"SELECT clinic, HISTOGRAM(stay) {_OF} GROUP BY clinic",
        "SELECT clinic, stay // 4 * 4 AS low, least(low + 3, 30), COUNT(*)"
        f" {_OF} WHERE stay IS NOT NULL GROUP BY clinic, low",
    ),
    Query(
        TABULATIONS,
        "`HISTOGRAM(x, n)`",
        "n ranges; the last one has its upper end, the others have not. Of whole numbers, at most n that have both",
        f"SELECT HISTOGRAM(pain, 4) AS pain {_OF}",
        "SELECT least(floor(pain / 2.5), 3) * 2.5 AS low, low + 2.5, COUNT(*)"
        f" {_OF} WHERE pain IS NOT NULL GROUP BY low",
    ),
    Query(
        TABULATIONS,
        "`APPROX_TOP_K(x, k)`, `APPROX_TOP_COUNT`",
        "the k most frequent values with their counts",
        f"SELECT APPROX_TOP_K(city, 2) AS city {_OF}",
        f"SELECT city, COUNT(*) {_OF} GROUP BY city ORDER BY COUNT(*) DESC LIMIT 2",
    ),
    Query(
        TABULATIONS,
        "`APPROX_TOP_K` with `GROUP BY`",
        "of each group",
        f"SELECT clinic, APPROX_TOP_K(QUARTER(day), 1) {_OF} GROUP BY clinic",
        f"SELECT clinic, QUARTER(day) AS q, COUNT(*) AS n {_OF} GROUP BY clinic, q"
        " QUALIFY ROW_NUMBER() OVER (PARTITION BY clinic ORDER BY n DESC) <= 1",
    ),
    Query(
        SOURCES,
        "`JOIN t USING (unit)`",
        "pairs of rows of one unit",
        "SELECT sex, AVG(pain) AS pain FROM visits JOIN people USING (person) GROUP BY sex",
    ),
    Query(
        SOURCES,
        "`JOIN t ON a.unit = b.unit AND …`",
        "further conditions as they come",
        "SELECT COUNT(*) AS n FROM visits a JOIN visits b"
        " ON a.person = b.person AND a.day < b.day AND a.clinic = b.clinic",
    ),
    Query(
        SOURCES,
        "`LEFT JOIN`",
        "rows without a partner stay",
        "SELECT COUNT(*) AS n FROM visits v LEFT JOIN people p ON p.person = v.person WHERE p.person IS NULL",
    ),
    Query(
        SOURCES,
        "a sub-query, `WITH`",
        "that makes of each unit's rows what it makes",
        "WITH worst AS (SELECT person, MAX(pain) AS p FROM visits GROUP BY person)"
        " SELECT AVG(p) AS p FROM worst WHERE p > 5",
    ),
    Query(
        SOURCES,
        "`SELECT DISTINCT unit, …`",
        "each combination once",
        "SELECT COUNT(*) AS n FROM (SELECT DISTINCT person, clinic FROM visits)",
    ),
    Query(
        SOURCES,
        "`unit IN (SELECT unit …)`",
        "units that have such a row",
        "SELECT COUNT(*) AS n FROM visits WHERE person IN (SELECT person FROM people WHERE age >= 60)",
    ),
    Query(
        SOURCES,
        "`[NOT] EXISTS (SELECT … WHERE b.unit = a.unit …)`",
        "the same",
        "SELECT COUNT(*) AS n FROM people p"
        " WHERE NOT EXISTS (SELECT 1 FROM visits v WHERE v.person = p.person AND urgent)",
    ),
    Query(
        SOURCES,
        "`x = (SELECT MAX(x) … WHERE b.unit = a.unit)`",
        "with one value of the unit's own rows",
        "SELECT AVG(pain) AS latest FROM visits v"
        " WHERE day = (SELECT MAX(day) FROM visits b WHERE b.person = v.person)",
    ),
    Query(
        SOURCES,
        "`ROW_NUMBER() OVER (PARTITION BY unit … ORDER BY …)`",
        "the place of a row among its unit's; NULL comes last",
        f"SELECT AVG(pain) AS latest FROM ({_LAST}) WHERE place = 1",
    ),
    Query(
        SOURCES,
        "`QUALIFY`",
        "a condition with ROW_NUMBER, in a sub-query",
        "SELECT AVG(pain) AS p FROM (SELECT * FROM visits"
        " QUALIFY ROW_NUMBER() OVER (PARTITION BY person ORDER BY day DESC) <= 3)",
    ),
    Query(
        LOOK_UPS,
        "`JOIN (VALUES ...) AS t(key, x) ON t.key = y`",
        "rows whose y is a key, with what stands beside it",
        "SELECT land, COUNT(*) AS n, AVG(pain) AS pain FROM visits"
        " JOIN (VALUES ('Ulm', 'D'), ('Bern', 'CH')) AS places(city, land) ON places.city = visits.city GROUP BY land",
    ),
    Query(
        LOOK_UPS,
        "`LEFT JOIN`",
        "all rows, NULL for other keys",
        "SELECT COALESCE(land, '?') AS land, COUNT(*) AS n FROM visits"
        " LEFT JOIN (VALUES ('Ulm', 'D'), ('Bern', 'CH')) AS places(city, land) USING (city) GROUP BY 1",
    ),
    Query(
        LOOK_UPS,
        "`WITH t(key, x) AS (VALUES ...)`",
        "a name for it; numbers that are looked up have bounds",
        "WITH price(clinic, fee) AS (VALUES ('north', 120), ('south', 80.5))"
        " SELECT AVG(fee) AS fee FROM visits JOIN price USING (clinic)",
    ),
    Query(
        LOOK_UPS,
        "`x IN (SELECT key FROM t)`",
        "whether x is a key, in WHERE",
        "WITH alps(town) AS (VALUES ('Bern'), ('Graz'))"
        " SELECT COUNT(*) AS n FROM visits WHERE city IN (SELECT town FROM alps)",
    ),
    Query(
        LOOK_UPS,
        "an expression as the key",
        "parts of a date, ranges, texts cut and put together",
        "SELECT season, COUNT(*) AS n FROM visits JOIN (VALUES (1, 'first'), (2, 'first'), (3, 'second')) AS t(month,"
        " season) ON t.month = MONTH(day) GROUP BY season",
    ),
    Query(UNITS, "`COUNT(*)`, `COUNT_IF(c)`", "rows", _per_unit("COUNT(*)")),
    Query(UNITS, "`COUNT(x)`", "rows where x is not NULL", _per_unit("COUNT(pain)")),
    Query(UNITS, "`COUNT(DISTINCT x)`", "different values", _per_unit("COUNT(DISTINCT clinic)")),
    Query(UNITS, "`SUM(x)`", "sum; it has bounds where x has", _per_unit("SUM(stay)")),
    Query(UNITS, "`AVG(x)`", "mean", _per_unit("AVG(pain)")),
    Query(UNITS, "`MIN(x)`", "the smallest, exactly: it stays inside", _per_unit("MIN(stay)")),
    Query(UNITS, "`MAX(x)`", "the largest; aggregates may be computed with", _per_unit("MAX(stay) - MIN(stay)")),
    Query(UNITS, "`BOOL_OR(c)`", "whether any row is so", _per_unit("IF(BOOL_OR(urgent), 1, 0)")),
    Query(UNITS, "`BOOL_AND(c)`", "whether all are", _per_unit("IF(BOOL_AND(pain > 2), 1, 0)")),
    Query(UNITS, "`ARG_MAX(x, y)`, `MAX_BY`", "x of the row with the largest y", _per_unit("ARG_MAX(stay, day)")),
    Query(UNITS, "`ARG_MIN(x, y)`, `MIN_BY`", "with the smallest y", _per_unit("ARG_MIN(stay, day)")),
    Query(
        UNITS,
        "`FIRST(x ORDER BY y)`",
        "x of the first row in the order, NULL too",
        _per_unit("FIRST(stay ORDER BY day)"),
    ),
    Query(UNITS, "`… FILTER (WHERE c)`", "of some rows", _per_unit("COUNT(*) FILTER (WHERE urgent)")),
    Query(
        UNITS,
        "`GROUP BY unit, keys … HAVING`",
        "a row for each combination, NULL being a value",
        "SELECT clinic, AVG(n) AS n FROM (SELECT person, clinic, COUNT(*) AS n FROM visits"
        " GROUP BY person, clinic HAVING MAX(stay) > 2) GROUP BY clinic",
    ),
)
"""By section, in the order of the page."""

SAME = (
    ("MEAN(pain)", "AVG(pain)"),
    ("COUNT(1)", "COUNT(*)"),
    ("COUNT()", "COUNT(*)"),
    ("VAR_SAMP(pain)", "VARIANCE(pain)"),
    ("STDDEV_SAMP(pain)", "STDDEV(pain)"),
    ("QUANTILE(pain, 0.9)", "QUANTILE_CONT(pain, 0.9)"),
    ("APPROX_QUANTILE(pain, 0.9)", "QUANTILE_CONT(pain, 0.9)"),
    ("SUM(CEILING(pain))", "SUM(CEIL(pain))"),
    ("SUM(MOD(stay, 3))", "SUM(stay % 3)"),
    ("SUM(POW(stay, 2))", "SUM(POWER(stay, 2))"),
    ("SUM(stay ** 2)", "SUM(POWER(stay, 2))"),
    ("SUM(stay ^ 2)", "SUM(POWER(stay, 2))"),
    ("SUM(IFNULL(stay, 0))", "SUM(COALESCE(stay, 0))"),
    ("SUM(NVL(stay, 0))", "SUM(COALESCE(stay, 0))"),
    ("COUNT_IF(LCASE(note) = 'a')", "COUNT_IF(LOWER(note) = 'a')"),
    ("COUNT_IF(UCASE(note) = 'A')", "COUNT_IF(UPPER(note) = 'A')"),
    ("COUNT_IF(LEN(note) == 3)", "COUNT_IF(LENGTH(note) = 3)"),
    ("COUNT_IF(SUBSTR(note, 2) != 'a')", "COUNT_IF(SUBSTRING(note, 2) <> 'a')"),
    ("COUNT_IF(LOG(stay + 1) > 1)", "COUNT_IF(LOG10(stay + 1) > 1)"),
    ("COUNT_IF(LOG(2, stay + 1) > 1)", "COUNT_IF(LOG2(stay + 1) > 1)"),
    ("COUNT_IF(stay::DOUBLE > 1.5)", "COUNT_IF(CAST(stay AS DOUBLE) > 1.5)"),
    ("COUNT_IF(DATEDIFF('day', day, day) > 1)", "COUNT_IF(DATE_DIFF('day', day, day) > 1)"),
)
"""Other ways to write the same, as the page has them beside each other."""
