"""What can be computed of one row, by example: docs/sql.md is generated from this table, and every line is tried.

The example is an expression over `visits`. Its value is DuckDB's for every row of `reference_clinic.ODD_ROWS`, or,
where DuckDB has another value, another type or no such function, that of `DIFFERENT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Function:
    """Something to compute of one row."""

    section: str
    written: str
    meaning: str
    example: str


_TABLE = """
# Conditions
`=` `==` | equal | stay = 5
`<>` `!=` | not equal | clinic <> 'south'
`<` | less | stay < 5.5
`<=` | at most; strings by code point | city <= 'V'
`>` | greater; of dates: later | day > '2024-01-31'
`>=` | at least | arrived >= TIMESTAMP '2024-01-31 12:00:00'
`x BETWEEN a AND b` | from a to b, both included | pain BETWEEN 5 AND stay + 3
`x IN (…)` | one of constants or expressions | stay IN (1, 5, 8)
`x NOT IN (…)` | none of them | city NOT IN ('Bern', note)
`x IS [NOT] NULL` | whether there is no value | stay + 1 IS NOT NULL
`x IS [NOT] TRUE`, `FALSE` | NULL counts as neither | urgent IS NOT TRUE
`x IS NOT DISTINCT FROM y` | equal, NULL being equal to NULL | city IS NOT DISTINCT FROM note
`x IS DISTINCT FROM y` | the opposite | urgent IS DISTINCT FROM TRUE
`x AND y` | both; three-valued, as SQL has it | urgent AND pain > 5
`x OR y` | at least one | urgent OR pain > 9
`NOT x` | the opposite | NOT urgent
`x [NOT] LIKE 'p'` | `%` is any text, `_` any character, nothing escapes | note LIKE '_F%'
`x [NOT] ILIKE 'p'` | the same; a and A are one, for ASCII letters | note ILIKE '%FELL%'
`STARTS_WITH(x, 'p')`, `PREFIX` | how a string begins | starts_with(note, ' Fe')
`PREFIX(x, 'p')` | the same, also for `%` and `_` | prefix(note, '100%')
`ENDS_WITH(x, 'p')` | how it ends | ends_with(note, 'm')
`SUFFIX(x, 'p')` | the same | suffix(city, 'lm')
`CONTAINS(x, 'p')` | what is in it | contains(note, '2')

# Numbers
`x + y` | sum | pain + stay
`x - y` | difference | stay - 7
`x * y` | product | stay * 1.5
`x / y` | quotient, a float64 as in DuckDB; NULL where y is 0 | 10 / stay
`x // y` | the whole number below the quotient | (stay + 4) // 2
`x % y`, `MOD(x, y)` | rest of whole numbers, with the sign of x | stay % 3
`-x` | negative | -pain
`ABS(x)` | without its sign | abs(stay - 8)
`SIGN(x)` | -1, 0 or 1 | sign(weight)
`FLOOR(x)` | the whole number at or below | floor(pain)
`CEIL(x)`, `CEILING(x)` | the whole number at or above | ceil(pain)
`ROUND(x)`, `ROUND(x, places)` | places from -15 to 15; a half goes away from 0 | round(pain, 1)
`TRUNC(x)` | to a whole number, towards 0 | trunc(weight)
`SQRT(x)` | square root; NULL where x is negative | sqrt(weight)
`LN(x)` | logarithm; NULL where x is not above 0 | ln(pain + 1)
`LOG(x)`, `LOG10(x)`, `LOG2(x)`, `LOG(base, x)` | the same, of base 10, 2 or a constant | log2(stay + 8)
`POWER(x, n)`, `POW`, `x ** n`, `x ^ n` | n is 0.5, 1, 2, 3 or 4 | power(pain, 2)
`WIDTH_BUCKET(x, lo, hi, n)` | which of n equal ranges; 0 below lo, n + 1 from hi on | width_bucket(pain, 0, 10, 4)

# Strings
`LOWER(x)`, `LCASE(x)` | ASCII letters only | lower(note)
`UPPER(x)`, `UCASE(x)` | ASCII letters only | upper(city)
`TRIM(x)` | without spaces at both ends | trim(note)
`LENGTH(x)`, `LEN(x)` | characters (Unicode code points) | length(note)
`SUBSTRING(x, start, n)`, `SUBSTR` | constants; start from 1, n may be left out | substring(note, 2, 4)
`LEFT(x, n)` | the first n characters | left(city, 1)
`x || y` | put together; NULL where one is. Whole numbers, dates and truth values too | clinic || '-' || stay
`CONCAT(x, y, …)` | the same, NULL passed over | concat(clinic, '/', day)

# Dates and timestamps
`x - y` of dates | days between | day - DATE '2024-01-01'
`YEAR(x)` | year | year(day)
`QUARTER(x)` | 1 to 4 | quarter(arrived)
`MONTH(x)` | 1 to 12 | month(day)
`DAY(x)` | day of the month | day(day)
`DAYOFMONTH(x)` | the same | dayofmonth(arrived)
`DAYOFWEEK(x)` | 0 is Sunday | dayofweek(day)
`DOW(x)` | the same | dow(day)
`WEEKDAY(x)` | the same | weekday(day)
`ISODOW(x)` | 1 is Monday, 7 Sunday | isodow(day)
`DAYOFYEAR(x)` | from 1 | dayofyear(day)
`DOY(x)` | the same | doy(day)
`HOUR(x)` | 0 for a date | hour(arrived)
`MINUTE(x)` | 0 for a date | minute(arrived)
`EXTRACT(part FROM x)` | any part above | extract(month FROM arrived)
`DATE_PART('part', x)` | the same | date_part('quarter', day)
`DATEPART('part', x)` | the same | datepart('year', day)
`DATE_TRUNC('year', x)` | the first day of its year, always a date | date_trunc('year', day)
`DATE_TRUNC('quarter', x)` | of its quarter | date_trunc('quarter', arrived)
`DATE_TRUNC('month', x)` | of its month | date_trunc('month', CAST(arrived AS DATE))
`DATE_TRUNC('week', x)` | its Monday | date_trunc('week', day)
`DATE_TRUNC('day', x)` | its day | date_trunc('day', arrived)
`DATE_DIFF('day', x, y)`, `DATEDIFF` | days from x to y | date_diff('day', day, DATE '2024-03-31')
`DATE_DIFF('week', x, y)` | Mondays from x to y | date_diff('week', day, DATE '2024-04-01')
`DATE_DIFF('month', x, y)` | beginnings of months between | date_diff('month', DATE '2024-01-31', day)
`DATE_DIFF('quarter', x, y)` | of quarters | date_diff('quarter', DATE '2023-12-31', arrived)
`DATE_DIFF('year', x, y)` | of years | date_diff('year', day, arrived)

# Choices and casts
`CASE WHEN c THEN x … ELSE y END` | x where c is true, else y, else NULL | CASE WHEN pain > 7 THEN 'bad' ELSE 'low' END
`CASE x WHEN a THEN … END` | compares x with each | CASE clinic WHEN 'north' THEN 1 ELSE 2 END
`IF(c, x, y)` | x where c is true, else y | if(urgent, stay, 0)
`IFF(c, x, y)` | the same | iff(urgent, 'yes', 'no')
`COALESCE(x, y, …)`, `IFNULL`, `NVL` | the first that is not NULL | coalesce(stay, 0)
`NULLIF(x, y)` | NULL where they are equal | nullif(stay, 0)
`LEAST(x, y, …)` | the smallest, NULL passed over | least(pain, 5)
`GREATEST(x, y, …)` | the largest, NULL passed over | greatest(stay, weight, 3)
`CAST(x AS BIGINT)`, `x::BIGINT` | numbers (a half goes away from 0) and truth values | CAST(weight AS BIGINT)
`TRY_CAST(x AS BIGINT)` | strings: `[+-]?[0-9]{1,18}`, else NULL; so does CAST | TRY_CAST(city AS BIGINT)
`CAST(x AS DOUBLE)` | numbers and truth values | CAST(urgent AS DOUBLE)
`CAST(x AS BOOLEAN)` | numbers: whether it is not 0 | CAST(stay AS BOOLEAN)
`CAST(x AS VARCHAR)` | whole numbers, truth values, dates | CAST(day AS VARCHAR)
`CAST(x AS DATE)` | timestamps | CAST(arrived AS DATE)
"""

DIFFERENT: Mapping[str, Sequence[Any]] = {
    "(stay + 4) // 2": (4, 2, -2, None),
    "10 / stay": (2.0, None, -10 / 7, None),
    "sqrt(weight)": (8.455767262643882, None, 1000.0, None),
    "width_bucket(pain, 0, 10, 4)": (3, 1, 4, None),
    "dow(day)": (4, 0, 0, None),
    "doy(day)": (60, 362, 1, None),
    "iff(urgent, 'yes', 'no')": ("yes", "no", "no", "no"),
    "CAST(weight AS BIGINT)": (72, -1, 1000000, None),
}
"""By example: its values for the odd rows, where DuckDB has others."""


def _read(table: str) -> list[Function]:
    section, found = "", []
    for line in filter(None, table.splitlines()):
        if line.startswith("# "):
            section = line.removeprefix("# ")
        else:
            written, meaning, example = line.split(" | ")
            found.append(Function(section, written, meaning, example))
    return found


FUNCTIONS = tuple(_read(_TABLE))
"""By section, in the order of the page."""
