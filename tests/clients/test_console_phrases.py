"""Sentences and names of the gateway and the SDK that pages show are said in every language of the console."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi import receipt, search_receipt, training_receipt
from yingbi.api.stop_scopes import name_of
from yingbi.api.v1.dataset_pb2 import Budget as BudgetMessage
from yingbi.api.v1.plan_pb2 import ColumnType
from yingbi.budget import Budget
from yingbi_dashboard import catalogue

import gateway
from gateway.governance import agreement_states, decisions, operating, stops
from gateway.governance.callers import Scope
from gateway.governance.policy import Action
from gateway.planning import notes, stages, undeclared
from tests.clients.raised_codes import written

GATEWAY = sorted(Path(gateway.__file__ or "").parent.rglob("*.py"))
LANGUAGES = [language for language in catalogue.LANGUAGES if language != catalogue.DEFAULT]
ACTIONS = {
    # Put together where they are recorded.
    *(f"agreement.{step}" for step in agreement_states.Step),
    *(f"stop.{name_of(scope)}" for scope in stops.ACTIONS),
    *(f"operator.{step}" for step in (operating.ADOPT, "apply", "assess", "refuse", "sign", "terminate")),
    *(f"deployment.{step}" for step in ("deploy", "approve", "withdraw", "predict", "take_back", "answer")),
    *(f"job.{step}" for step in ("return", "refuse")),
    *(f"{kind} removed" for kind in ("passkey", "totp")),
}
NOTES = {notes: None, undeclared: None, stages: ("_notes", "_bound_note")}
"""Modules that make notes, and which of their functions do; None: all."""


def chinese(text: str) -> bool:
    return bool(re.search(r"[\u4e00-\u9fff]", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_name_of_the_gateways_and_of_the_sdks_is_said(language: str) -> None:
    found = {kind: set(names) for kind, names in catalogue.names(language).items()}
    checks = [Path(each.__file__ or "") for each in (receipt, search_receipt, training_receipt)]
    recorded = written(GATEWAY, frozenset({("append", 1), ("Said", 0)}))
    assert {"job.submit", "signed in", "person invited"} <= recorded
    assert found == {
        "action": recorded | ACTIONS,
        "policy": {action.name.lower() for action in Action},
        "condition": {str(row.grade) for row in decisions.rows()},
        "scope": {str(scope) for scope in Scope},
        "type": {ColumnType.Name(each).removeprefix("COLUMN_TYPE_").lower() for each in ColumnType.values() if each},
        "check": written(checks, frozenset({("Check", 0), ("bad_receipt", 0)})),
    }
    assert all(chinese(text) for names in catalogue.names(language).values() for text in names.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_note_about_a_question_is_said(language: str) -> None:
    found = [note for module, names in NOTES.items() for note in _sentences(Path(module.__file__ or ""), names)]
    assert len(found) > 25
    assert [note for note in found if not chinese(catalogue.phrase(language, note))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_budget_is_said(language: str) -> None:
    for shared, own, uses, spent in product((False, True), (False, True), (None, 0, 3), (0, 5 * 10**12, 10**13)):
        message = BudgetMessage(limit_rho_units=10**13, spent_rho_units=spent, delta=1e-6, epsilon=30.0)
        if shared:
            message.namespace.unit_namespace = "people of here"
        if own:
            message.organisation.organisation = "college"
        if uses is not None:
            message.agreement.agreement = "liver-study"
            message.agreement.delta, message.agreement.limit_rho_units = 1e-6, 10**13
            message.agreement.max_uses, message.agreement.uses = 3, uses
        budget = Budget.of(message)
        said = [*str(budget).split("; "), *(budget.excess_words(10**12, count) for count in (1, 2))]
        assert [text for text in said if text and not chinese(catalogue.phrase(language, text))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_whose_move_an_agreement_is_is_said(language: str) -> None:
    sources, functions = (agreement_states, operating), ("waits_for", "missing_signatures")
    texts = (text for module in sources for text in _texts(Path(module.__file__ or ""), functions))
    found = [text for text in texts if text.startswith("the ")]
    assert len(found) == 6
    assert [text for text in found if not chinese(catalogue.phrase(language, text))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_is_said_with_all_its_parts_and_no_others(language: str) -> None:
    for english, own in catalogue.phrases(language).items():
        parts = _parts(english)
        assert chinese(own), english
        assert _parts(own) <= parts, english
        # What no reader misses: a number's noun, the mark of a plural, what is said beside a list.
        assert parts - _parts(own) <= {"noun", "plural", "otherwise"}, english
        assert catalogue.phrase(language, english.format_map(dict.fromkeys(parts, "7"))), english


def test_parts_are_said_as_they_came_or_with_their_words_replaced() -> None:
    said = catalogue.phrase("zh", "Rows whose a{b} or age is NULL or not a listed value are in no group.")
    assert said == "a{b} 或 age 为 NULL 或不在所列取值中的行不属于任何分组。"
    assert catalogue.phrase("zh", "pain: ± 1.2 over 100 rows, ± 0.4 over 1,000 rows") == (
        "pain：± 1.2（100行），± 0.4（1,000行）"
    )
    assert catalogue.phrase("zh", "A sentence of another version.") == ""
    assert catalogue.phrase("en", "Did you mean pain?") == ""
    assert catalogue.named("en", "action", "job.submit") == ""
    assert catalogue.named("zh", "action", "of another version") == ""
    for unknown in (catalogue.hints, catalogue.phrases, catalogue.names):
        with pytest.raises(KeyError):
            unknown("en")


def test_what_is_made_to_be_slow_to_tell_from_a_sentence_is_told_at_once() -> None:
    """A node's refusal, or a lying gateway's, is shown by the console, which serves everybody else meanwhile."""
    slow = ", made by a " * 10_000 + " and signed by its enclave; " * 5_000 + " of " * 20_000
    assert catalogue.phrase("zh", slow) == ""
    assert catalogue.hint("zh", "of another version", slow) == ""


@given(st.data())
def test_sentences_are_told_as_by_their_patterns(data: st.DataObject) -> None:
    english = data.draw(st.sampled_from(list(catalogue.phrases("zh"))))
    parsed = list(Formatter().parse(english))
    words = st.lists(st.sampled_from([*(text for text, _, _, _ in parsed), "", "a", "\n", "£"]), max_size=3)
    said = "".join(text + ("".join(data.draw(words)) if name else "") for text, name, _, _ in parsed)
    pattern = "".join(re.escape(text) + (f"(?P<{name}>.*?)" if name else "") for text, name, _, _ in parsed)
    match = re.fullmatch(pattern, said, re.DOTALL)
    assert match is not None
    assert catalogue._sentence(english).parts_of(said) == match.groupdict()
    assert (catalogue._sentence(english).parts_of(said[1:]) is None) == (
        re.fullmatch(pattern, said[1:], re.DOTALL) is None
    )


def _parts(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def _sentences(module: Path, functions: tuple[str, ...] | None) -> Iterator[str]:
    return (text for text in _texts(module, functions) if text.endswith(".") and " " in text)


def _texts(module: Path, functions: tuple[str, ...] | None) -> Iterator[str]:
    """Texts that functions of a module write out, with "3 rows" wherever something is filled in."""
    for function in ast.walk(ast.parse(module.read_text())):
        if isinstance(function, ast.FunctionDef) and (functions is None or function.name in functions):
            skipped = {
                id(part) for text in ast.walk(function) if isinstance(text, ast.JoinedStr) for part in text.values
            }
            skipped |= {id(each.value) for each in function.body if isinstance(each, ast.Expr)}
            for node in ast.walk(function):
                if id(node) not in skipped and isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "3 rows" for part in node.values)
                    yield "".join(map(str, parts))
                elif id(node) not in skipped and isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
