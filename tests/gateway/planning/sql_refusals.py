"""What cannot be asked, by example, for docs/sql.md: each is refused with its code, a place and a hint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A query that is refused, and why."""

    section: str
    what: str
    example: str
    code: str


_TABLE = """
# Rows and units
rows | SELECT * FROM visits | raw_columns
a column that is not grouped by | SELECT note, COUNT(*) FROM visits | raw_columns
ordering by a column of rows | SELECT COUNT(*) FROM visits ORDER BY pain | raw_columns
a column of rows in HAVING | SELECT COUNT(*) FROM visits HAVING COUNT(*) > 1 AND pain > 3 | raw_columns
the unit, filtered | SELECT COUNT(*) FROM visits WHERE person = 7 | privacy_unit
the unit, grouped by | SELECT person, COUNT(*) FROM visits GROUP BY person | privacy_unit
the unit, computed with | SELECT SUM(person) FROM visits | privacy_unit
rows counted by their unit | SELECT COUNT(person) FROM visits | privacy_unit

# Aggregates
sums of what is no number | SELECT SUM(clinic) FROM visits | not_numeric
sums without bounds | SELECT AVG(weight) FROM visits | no_bounds
distinct values among fractions | SELECT COUNT(DISTINCT pain) FROM visits | undeclared_group_key
distinct values beside something else | SELECT COUNT(DISTINCT city), COUNT(*) FROM visits | not_supported
distinct values of two columns | SELECT COUNT(DISTINCT clinic), COUNT(DISTINCT city) FROM visits | not_supported
sums of distinct values | SELECT SUM(DISTINCT stay) FROM visits | not_supported
the most frequent value | SELECT MODE(city) FROM visits | not_supported
the k most frequent values beside an aggregate | SELECT APPROX_TOP_K(city, 3), COUNT(*) FROM visits | not_supported
a histogram beside an aggregate | SELECT HISTOGRAM(pain), AVG(pain) FROM visits | not_supported
a histogram without bounds | SELECT HISTOGRAM(weight) FROM visits | no_bounds
a histogram that is cut | SELECT HISTOGRAM(pain) FROM visits LIMIT 3 | not_supported
one of the values | SELECT ANY_VALUE(note) FROM visits | not_supported
the value of one row | SELECT ARG_MAX(pain, day) FROM visits | not_supported
whether all, whether any | SELECT BOOL_OR(urgent) FROM visits | not_supported
a discrete quantile | SELECT PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY pain) FROM visits | not_supported
higher moments | SELECT KURTOSIS(pain) FROM visits | not_supported
texts put together | SELECT STRING_AGG(note, ',') FROM visits | not_supported
a quantile beyond 1 | SELECT QUANTILE_CONT(pain, 90) FROM visits | bad_quantile
an aggregate of an aggregate | SELECT AVG(SUM(pain)) FROM visits | not_supported
window functions over rows of people | SELECT SUM(stay) OVER () FROM visits | raw_columns
no aggregate at all | SELECT clinic FROM visits GROUP BY clinic | not_supported
functions of aggregates that lose their error | SELECT ROUND(AVG(pain), 1) FROM visits | not_supported
conditions shown | SELECT COUNT(*) > 5 FROM visits | not_supported
two columns of one name | SELECT COUNT(*), COUNT(*) FROM visits | duplicate_name

# Groups and order
groups by fractions | SELECT COUNT(*) FROM visits GROUP BY pain | undeclared_group_key
groups by an aggregate | SELECT COUNT(*) FROM visits GROUP BY COUNT(*) | not_supported
units with totals | SELECT clinic, COUNT(DISTINCT person) FROM visits GROUP BY ROLLUP (clinic) | not_supported
distinct values with totals | SELECT clinic, COUNT(DISTINCT city) FROM visits GROUP BY ROLLUP (clinic) | not_supported
distinct values of a key | SELECT clinic, COUNT(DISTINCT clinic) FROM visits GROUP BY clinic | not_supported
too many groups | SELECT COUNT(*) FROM visits GROUP BY stay, stay + 1, DAYOFYEAR(day) | too_many_groups
a place that is not there | SELECT clinic, COUNT(*) FROM visits GROUP BY 3 | bad_position
HAVING without an aggregate | SELECT COUNT(*) FROM visits HAVING 1 < 2 | not_supported
LIMIT that is no number | SELECT COUNT(*) FROM visits LIMIT 10% | not_supported
DISTINCT over groups | SELECT DISTINCT COUNT(*) FROM visits | not_supported
QUALIFY without a window | SELECT COUNT(*) AS n FROM visits QUALIFY n > 5 | not_supported
a window function in HAVING | SELECT COUNT(*) FROM visits HAVING RANK() OVER (ORDER BY COUNT(*)) = 1 | not_supported
partitions by what is no key | SELECT RANK() OVER (PARTITION BY urgent ORDER BY COUNT(*)) FROM visits | raw_columns
frames by values | SELECT SUM(COUNT(*)) OVER (ORDER BY COUNT(*) RANGE 3 PRECEDING) FROM visits | not_supported
ranks without an order | SELECT clinic, COUNT(*), RANK() FROM visits GROUP BY clinic | not_supported
keys of other rows | SELECT COUNT(*), LAG(clinic) OVER (ORDER BY clinic) FROM visits GROUP BY clinic | raw_columns

# Joins and sub-queries
other joins | SELECT COUNT(*) FROM visits FULL JOIN people USING (person) | not_supported
every pair | SELECT COUNT(*) FROM visits, people | join_not_on_unit
a join on something else | SELECT COUNT(*) FROM visits JOIN people ON stay = age | join_not_on_unit
a sub-query that lost the unit | SELECT COUNT(*) FROM visits JOIN (SELECT age FROM people) USING (person) | unit_missing
people compared with all | SELECT COUNT(*) FROM visits WHERE pain > (SELECT AVG(pain) FROM visits) | across_units
groups of people | SELECT MAX(n) FROM (SELECT city, COUNT(*) AS n FROM visits GROUP BY city) | across_units
values of others | SELECT COUNT(*) FROM visits WHERE city IN (SELECT note FROM visits) | across_units
a rank among people | SELECT COUNT(*) FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY pain) AS r FROM visits) | across_units
other window functions | SELECT COUNT(*) FROM (SELECT person, SUM(stay) OVER () FROM visits) | not_supported
medians within a unit | SELECT COUNT(*) FROM (SELECT person, MEDIAN(pain) FROM visits GROUP BY person) | not_supported
LIMIT in a sub-query | SELECT COUNT(*) FROM (SELECT person FROM visits LIMIT 3) | not_supported
a column that is not grouped by | SELECT COUNT(*) FROM (SELECT person, pain FROM visits GROUP BY person) | not_grouped
two columns of one name | SELECT COUNT(*) FROM (SELECT person, day, pain AS day FROM visits) | repeated_column
a table twice without names | SELECT COUNT(*) FROM visits JOIN visits USING (person) | ambiguous_table
a column of both | SELECT COUNT(*) FROM visits a JOIN visits b USING (person) WHERE pain > 3 | ambiguous_column
LATERAL | SELECT COUNT(*) FROM visits, LATERAL (SELECT person FROM people) | not_supported
WITH RECURSIVE | WITH RECURSIVE a AS (SELECT person FROM visits) SELECT COUNT(*) FROM a | not_supported

# Look-up tables
a key twice | SELECT COUNT(*) FROM visits JOIN (VALUES ('Ulm', 1), ('Ulm', 2)) AS t(city, n) USING (city) | repeated_key
a look-up without a key | SELECT COUNT(*) FROM visits, (VALUES ('Ulm', 1)) AS t(city, n) | join_not_on_key
keys that no row can have | SELECT COUNT(*) FROM visits JOIN (VALUES ('N', 1)) t(clinic, n) USING (clinic) | no_such_key
keys of another type | SELECT COUNT(*) FROM visits JOIN (VALUES ('1', 'a')) AS t(stay, x) USING (stay) | type_mismatch
fractions as keys | SELECT COUNT(*) FROM visits JOIN (VALUES (1.5, 'a')) AS t(pain, x) USING (pain) | type_mismatch
rows of different lengths | SELECT COUNT(*) FROM visits JOIN (VALUES ('Ulm', 1), ('Graz')) t(city) USING (city) | lookup
what is no constant | SELECT COUNT(*) FROM visits JOIN (VALUES (city, 1)) AS t(c, n) ON c = city | not_supported
a look-up alone | SELECT COUNT(*) FROM (VALUES ('Ulm', 1)) AS t(city, n) | not_supported

# Functions and constants
functions that are not listed | SELECT COUNT(*) FROM visits WHERE EXP(pain) > 3 | not_supported
regular expressions | SELECT COUNT(*) FROM visits WHERE REGEXP_MATCHES(note, 'f+') | not_supported
patterns from a column | SELECT COUNT(*) FROM visits WHERE note LIKE city | not_supported
intervals | SELECT COUNT(*) FROM visits WHERE day + INTERVAL 3 DAY > '2024-02-01' | not_supported
today, random numbers | SELECT COUNT(*) FROM visits WHERE day = TODAY() | not_supported
rests of fractions | SELECT COUNT(*) FROM visits WHERE pain % 2 = 0 | not_supported
other exponents | SELECT COUNT(*) FROM visits WHERE POWER(pain, 7) > 3 | not_supported
fractions as strings | SELECT COUNT(*) FROM visits WHERE pain::VARCHAR = '3' | not_supported
strings as dates | SELECT COUNT(*) FROM visits WHERE note::DATE = day | not_supported
comparisons with NULL | SELECT COUNT(*) FROM visits WHERE pain = NULL | not_supported
parameters | SELECT COUNT(*) FROM visits WHERE stay = ? | not_supported
two types compared | SELECT COUNT(*) FROM visits WHERE stay = 'five' | type_mismatch
a constant that is none | SELECT COUNT(*) FROM visits WHERE day > '2024-02-30' | bad_literal
a number that no float64 is | SELECT COUNT(*) FROM visits WHERE pain = 9007199254740993 | bad_literal

# Texts
no SQL | hello | sql_syntax
other statements | DROP TABLE visits | not_supported
two at once | SELECT COUNT(*) FROM visits; SELECT 1 | not_supported
UNION | SELECT COUNT(*) FROM visits UNION SELECT COUNT(*) FROM people | not_supported
a sample | SELECT COUNT(*) FROM visits TABLESAMPLE 10% | not_supported
files | SELECT COUNT(*) FROM read_csv('people.csv') | not_supported
a table that is not there | SELECT COUNT(*) FROM visit | unknown_table
a column that is not there | SELECT COUNT(*) FROM visits WHERE pian > 3 | unknown_column
"""


def _read(table: str) -> list[Refusal]:
    section, found = "", []
    for line in filter(None, table.splitlines()):
        if line.startswith("# "):
            section = line.removeprefix("# ")
        else:
            what, example, code = line.split(" | ")
            found.append(Refusal(section, what, example, code))
    return found


REFUSALS = tuple(_read(_TABLE))
"""By section, in the order of the page."""
