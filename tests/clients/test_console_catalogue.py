"""Every sentence of the console is there in every language, and every one that is there is said somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
import yingbi_dashboard
from yingbi_dashboard import catalogue, highlight

FOLDER = Path(yingbi_dashboard.__file__).parent
TEMPLATES = "\n".join(path.read_text() for path in sorted((FOLDER / "templates").glob("*.html")))
SOURCES = "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.py")))


def said() -> set[str]:
    """All keys that templates name, and those that Python chooses among."""
    return set(re.findall(r"\bt\('([a-z_.]+)'", TEMPLATES)) | {
        key for key in re.findall(r'"([a-z_]+\.[a-z_]+)"', SOURCES) if key in catalogue.messages("en")
    }


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", list(catalogue.LANGUAGES))
def test_nothing_is_missing_and_nothing_is_left_over(language: str) -> None:
    assert set(catalogue.messages(language)) == said()
    assert all(sentence.strip() for sentence in catalogue.messages(language).values())


def test_every_key_that_python_chooses_is_there() -> None:
    """A name in one of its tables that no catalogue has would fail on a page."""
    from yingbi_dashboard import decision_page

    tables = (
        decision_page.FLAG_TITLES, decision_page.KIND_NAMES, decision_page.MODE_NAMES,
        decision_page.ORGANISATION_NAMES, decision_page.STATE_NAMES,
    )  # fmt: skip
    chosen = {key for table in tables for key in table.values()}
    assert chosen <= set(catalogue.messages("en"))


def test_a_sentence_has_the_same_parts_in_every_language() -> None:
    for key, sentence in catalogue.messages("en").items():
        assert fields(sentence) == fields(catalogue.messages("zh")[key]), key


def test_no_sentence_is_the_same_in_both_languages() -> None:
    """Left in English it would be missing without being missed."""
    assert [
        key for key, sentence in catalogue.messages("zh").items() if sentence == catalogue.messages("en")[key]
    ] == []


def test_templates_say_nothing_by_themselves() -> None:
    """Text outside of the catalogue would stay in one language."""
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<[^>]*>", " ", TEMPLATES, flags=re.DOTALL)
    assert set(re.findall(r"[A-Za-z]{2,}", bare)) == set()


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("zh", "en", "zh"),
        (None, "zh-CN,en;q=0.5", "zh"),
        (None, "fr, zh;q=0.3", "zh"),
        ("xx", "fr", "en"),
        (None, "", "en"),
    ],
)
def test_the_reader_chooses_or_the_browser_does(cookie: str | None, accepted: str, language: str) -> None:
    assert catalogue.chosen(cookie, accepted) == language


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t -- why\nWHERE x = 'it''s' /* and */ AND y > 1.5",
        "not 'SQL",
        "",
        "-- only",
        "SELECT \u00e9, '表' FROM t",
    ],
)
def test_colours_leave_nothing_out(sql: str) -> None:
    assert "".join(piece.text for piece in highlight.pieces(sql)) == sql


def test_what_would_hide_or_reorder_text_is_shown_by_its_number() -> None:
    shown = "".join(piece.text for piece in highlight.pieces("SELECT a\u202e FROM t -- \u200bx"))
    assert "\u202e" not in shown
    assert "\\u{202e}" in shown
    assert "\\u{200b}" in shown
