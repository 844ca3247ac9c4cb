"""Flags and refusals are said in the reader's language: none that the gateway knows is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yingbi_dashboard
from yingbi.api import certificates
from yingbi.api.stop_scopes import name_of
from yingbi.api.v1.agreement_pb2 import AgreementState
from yingbi.api.v1.job_pb2 import Flag
from yingbi_dashboard import catalogue, decision_page

import gateway
from gateway.governance import agreement_states, flags
from gateway.governance.stops import ACTIONS, DATASET, SUSPENSION
from tests.clients.raised_codes import raised_codes

GATEWAY, CONSOLE, SDK = (Path(each.__file__ or "").parent for each in (gateway, yingbi_dashboard, certificates))
OTHERS = {
    # What the console has no page for.
    *("deployments", "verifying", "verification", "verification_fields", "service_forms"),
    # Said at the command line, before there is a console.
    "settings",
}
MODULES = [
    module
    for folder in ("governance", "jobs", "ledger", "storage", "api")
    for module in sorted((GATEWAY / folder).glob("*.py"))
    if module.stem not in OTHERS
] + [
    *(module for module in sorted(CONSOLE.glob("*.py")) if module.stem not in OTHERS),
    *(SDK / f"{name}.py" for name in ("certificates", "templates", "audit")),
    SDK.parent / "transport.py",
]
PUT_TOGETHER = {
    *(f"{name_of(scope)}_stopped" for scope in ACTIONS if scope not in (DATASET, SUSPENSION)),
    "dataset_cut_off",
    *(f"{each}_exists" for each in ("person", "organisation")),
    *(
        f"agreement_{agreement_states.name_of(state)}"
        for state in AgreementState.values()
        if state not in (0, agreement_states.ACTIVE)
    ),
}
"""Codes that are not written out where they are raised."""
OTHER_LANGUAGES = [language for language in catalogue.LANGUAGES if language != catalogue.DEFAULT]


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_every_refusal_of_the_gateway_and_of_the_console_is_said_in_every_language(language: str) -> None:
    codes = raised_codes(MODULES) | PUT_TOGETHER
    assert {"own_request", "agreement_other_purpose", "wrong_state", "reason", "returned"} <= codes
    said = catalogue.refusals(language)
    assert set(said) == codes
    assert all(re.search(r"[\u4e00-\u9fff]", sentence) for sentence in said.values())
    # Whatever a code is about stands in the gateway's own words beneath: nothing is filled in.
    assert not [code for code, sentence in said.items() if "{" in sentence]


def test_a_code_that_is_not_known_leaves_the_gateways_own_words() -> None:
    assert catalogue.refusal("zh", "a_code_of_another_version") == ""
    assert catalogue.refusal("en", "own_request") == ""
    with pytest.raises(KeyError):
        catalogue.refusals("xx")


def test_every_flag_of_the_gateway_has_its_sentence_in_every_language() -> None:
    assert set(decision_page.FLAG_SENTENCES) == set(flags.SENTENCES)
    for name, sentence in flags.SENTENCES.items():
        key = decision_page.FLAG_SENTENCES[name]
        assert catalogue.messages("en")[key] == sentence
        assert all(catalogue.messages(language)[key] for language in catalogue.LANGUAGES)


def test_every_code_of_a_flag_has_a_title() -> None:
    source = (GATEWAY / "governance" / "flags.py").read_text()
    codes = set(re.findall(r'_flag\(\s*"([a-z_]+)"', source)) | {"similar"}
    assert set(decision_page.FLAG_TITLES) == codes


def test_a_flag_is_said_with_its_parts_in_the_readers_language() -> None:
    flag = Flag(code="volume", level="warning", text="as the gateway says it", sentence="volume")
    flag.parts.update({"organisation": "college {0}", "today": "21", "usual": "1.5"})
    shown = decision_page.shown_flag(flag)
    assert shown.is_warning
    assert catalogue.say("zh", shown.sentence, **shown.parts).startswith("college {0} 一天之内提交了 21 次")


@pytest.mark.parametrize(
    "parts", [{}, {"organisation": "x"}, {"organisation": "x", "today": "1", "usual": "1", "a": ""}]
)
def test_a_flag_of_another_version_of_the_gateway_is_in_its_own_words(parts: dict[str, str]) -> None:
    for sentence in ("volume", "nothing that is known"):
        flag = Flag(code="new", level="notice", text="Something new.", sentence=sentence, parts=parts)
        shown = decision_page.shown_flag(flag)
        assert (shown.sentence, shown.title, shown.text) == ("", "flag.other", "Something new.")
