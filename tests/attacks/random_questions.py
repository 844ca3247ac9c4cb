"""Questions in SQL, put together at random, over the dataset of `neighbours`."""

from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Source:
    """What stands after FROM, and what may be said over it."""

    text: str
    numbers: tuple[str, ...]
    keys: tuple[str, ...]
    conditions: tuple[str, ...]


_VISIT_NUMBERS = (
    "pain", "age", "pain * 2 - age", "ABS(pain - 5)", "pain * age", "LEAST(GREATEST(stay, -5), 5)",
    "LEAST(GREATEST(stay * stay, -7), 9007199254740992)", "CASE WHEN night THEN pain ELSE -age END",
    "LEAST(GREATEST(CAST(note AS BIGINT), 0), 9)", "LEAST(LENGTH(note), 50)", "COALESCE(pain, 10)",
    "LEAST(GREATEST(age / pain, -1e300), 1e300)", "LEAST(GREATEST(LN(pain), -3), 3)",
)  # fmt: skip
_VISIT_KEYS = ("ward", "night", "FLOOR(pain)", "MONTH(seen)", "pain > 5", "ward IN ('north', 'east')", "age % 3")
_VISIT_CONDITIONS = (
    "TRUE", "age / pain > 3", "note LIKE '%a%'", "stay + 1 > stay", "CAST(note AS BIGINT) > 3", "SQRT(pain) < 2",
    "NOT night OR night IS NULL", "day > DATE '1999-12-31'", "UPPER(note) || note <> note", "stay % age = 0",
)  # fmt: skip
SOURCES = [
    Source("visits", _VISIT_NUMBERS, _VISIT_KEYS, _VISIT_CONDITIONS),
    Source("labs", ("result", "raw", "raw * result"), ("code", "raw > 0"), ("result < 5", "raw = 9007199254740992")),
    Source(
        "visits JOIN labs USING (person)",
        (*_VISIT_NUMBERS, "result", "raw", "pain - result"),
        (*_VISIT_KEYS, "code"),
        (*_VISIT_CONDITIONS, "result > pain"),
    ),
    Source(
        "visits v LEFT JOIN labs l ON l.person = v.person AND raw <> age",
        ("pain", "COALESCE(result, 5)"),
        ("ward", "code", "raw IS NULL"),
        ("pain > 1", "result IS NULL"),
    ),
    Source(
        "(SELECT person, ward AS w, COUNT(*) AS n, SUM(pain) AS s, MAX(note) AS t FROM visits GROUP BY person, ward)",
        ("LEAST(n, 4)", "LEAST(GREATEST(s, -10), 10)"),
        ("w", "n > 1", "t IS NULL"),
        ("n > 1", "s > n", "LENGTH(t) > 3"),
    ),
    Source(
        "(SELECT *, ROW_NUMBER() OVER (PARTITION BY person, night ORDER BY seen DESC, pain) AS rn FROM visits)",
        ("pain", "age"),
        ("ward", "rn > 2", "night"),
        ("rn = 1", "rn <= 3", "pain > rn"),
    ),
    Source(
        "visits JOIN (SELECT person, AVG(result) AS m FROM labs GROUP BY person) USING (person)",
        ("pain", "LEAST(GREATEST(m, -2), 2)"),
        ("ward", "m > 0"),
        ("m > pain", "m IS NULL"),
    ),
    Source(
        "visits LEFT JOIN (VALUES ('', 1, 'x'), ('a', 2, NULL), ('12', 3.5, 'y')) AS t(text, n, kind) ON text = note"
        " JOIN (VALUES (50, 'p'), (9223372036854775807, 'q'), (NULL, 'r'), (1, 'q')) AS s(old, era) ON old = age",
        ("n", "pain * n", "old"),
        ("kind", "era", "n > 1", "ward"),
        ("kind = 'x'", "text IS NULL", "era <> 'p' OR kind IS NULL", "pain > n"),
    ),
]


@st.composite
def questions(draw: st.DrawFn) -> str:
    """A SELECT of up to three aggregates."""
    source = draw(st.sampled_from(SOURCES))
    number, condition = st.sampled_from(source.numbers), st.sampled_from(source.conditions)
    aggregate = st.one_of(
        st.sampled_from(["COUNT(*)", "COUNT(DISTINCT person)"]),
        st.builds("{}({})".format, st.sampled_from(["COUNT", "SUM", "AVG", "MEDIAN", "VAR_POP"]), number),
        st.builds("SUM({}) FILTER (WHERE {})".format, number, condition),
        condition.map("COUNT_IF({})".format),
    )
    shown = draw(st.lists(aggregate, min_size=1, max_size=3, unique=True))
    keys = draw(st.lists(st.sampled_from(source.keys), max_size=2, unique=True))
    where = draw(st.one_of(st.just("TRUE"), condition))
    columns = [*keys, *shown]
    grouping = f" GROUP BY {', '.join(str(1 + place) for place in range(len(keys)))}" if keys else ""
    return f"SELECT {', '.join(columns)} FROM {source.text} WHERE {where}{grouping}"
