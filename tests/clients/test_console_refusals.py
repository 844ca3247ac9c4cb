"""Flags, refusals and hints are said in the reader's language: none that can reach a page is missing.

Codes and hints are read off the source: of the gateway with its planner, of the enclaves and of the SDK, as far as the
console shows what they say.
"""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
import yingbi_dashboard
from yingbi.api import certificates, evidence_error
from yingbi.api.stop_scopes import name_of
from yingbi.api.v1.agreement_pb2 import AgreementState
from yingbi.api.v1.job_pb2 import Flag
from yingbi_dashboard import catalogue, decision_page

import enclave_sim
import gateway
from gateway.governance import agreement_states, flags
from gateway.governance.stops import ACTIONS, DATASET, SUSPENSION
from tests.clients.raised_codes import hinted_codes, raised_codes

GATEWAY, CONSOLE, SDK, ENCLAVES = (
    Path(each.__file__ or "").parent for each in (gateway, yingbi_dashboard, certificates, enclave_sim)
)
OTHERS = {
    # What the console has no page for.
    *("deployments", "verifying", "verification", "verification_fields", "service_forms"),
    # Said at the command line, before there is a console.
    "settings",
}
OF_ENCLAVES = {
    *("consents", "ingest", "predicting", "show_evidence", "subject_consent", "uses"),
    # Of a stop, whose page shows the node's own words and not the code.
    "stop_tasks",
}
"""What else no page shows of enclaves."""
FOLDERS = ("governance", "jobs", "ledger", "storage", "api", "planning", "aggregation", "evidence")
SDK_MODULES = (
    *("api/audit", "api/certificates", "api/credentials", "api/models/check", "api/parts", "api/stop_proofs"),
    *("api/templates", "attest", "audit", "jobs", "program_source", "query", "receipt", "stages", "stops"),
    *("training_receipt", "transport"),
)
RECEIPTS = [SDK.parent / f"{name}.py" for name in ("receipt", "search_receipt", "training_receipt")]
MODULES = [
    module
    for module in (
        *(found for folder in FOLDERS for found in sorted((GATEWAY / folder).glob("*.py"))),
        *sorted(CONSOLE.glob("*.py")),
        *(found for found in sorted(ENCLAVES.rglob("*.py")) if found.stem not in OF_ENCLAVES),
    )
    if module.stem not in OTHERS
] + [SDK.parent / f"{name}.py" for name in SDK_MODULES]
# As the SDK raises what gRPC says by itself, and the console has codes of its own for these.
NOT_STATES = {"ok", "unavailable", "deadline_exceeded"}
PUT_TOGETHER = {
    *(f"{name_of(scope)}_stopped" for scope in ACTIONS if scope not in (DATASET, SUSPENSION)),
    "dataset_cut_off",
    *(f"{each}_exists" for each in ("person", "organisation")),
    *(
        f"agreement_{agreement_states.name_of(state)}"
        for state in AgreementState.values()
        if state not in (0, agreement_states.ACTIVE)
    ),
    *(f"receipt_{check}" for check in raised_codes(RECEIPTS, frozenset({("bad_receipt", 0)}))),
    *(value for name, value in vars(evidence_error).items() if name.isupper()),
    *({each.name.lower() for each in grpc.StatusCode} - NOT_STATES),
}
"""Codes that are not written out where they are raised."""
OTHER_LANGUAGES = [language for language in catalogue.LANGUAGES if language != catalogue.DEFAULT]


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_every_refusal_of_the_gateway_and_of_the_console_is_said_in_every_language(language: str) -> None:
    codes = raised_codes(MODULES) | PUT_TOGETHER
    assert {"own_request", "agreement_other_purpose", "wrong_state", "reason", "returned"} <= codes
    assert {"unknown_column", "sql_syntax", "computation_failed", "receipt_numbers", "evidence_stale"} <= codes
    said = catalogue.refusals(language)
    assert set(said) == codes
    assert all(re.search(r"[\u4e00-\u9fff]", sentence) for sentence in said.values())
    # Whatever a code is about stands in the gateway's own words beneath: nothing is filled in.
    assert not [code for code, sentence in said.items() if "{" in sentence]


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_what_can_be_done_is_said_for_every_code_that_comes_with_a_hint(language: str) -> None:
    hinted, said = hinted_codes(MODULES), catalogue.hints(language)
    assert {"unknown_column", "undeclared_group_key", "agreement_expired", "plan_differs"} <= hinted
    assert hinted - set(said) == set()
    assert set(said) - set(catalogue.refusals(language)) == set()
    assert all(re.search(r"[\u4e00-\u9fff]", sentence) for sentence in said.values())


def test_a_hint_keeps_the_value_that_it_is_about() -> None:
    assert catalogue.hint("zh", "unknown_column", "Did you mean clinic?") == "您是想写 clinic 吗？"
    assert catalogue.hint("zh", "unknown_party", "did you mean a}{b?") == "您是想写 a}{b 吗？"
    assert catalogue.hint("zh", "unknown_column", "The columns are a, b.") == "可用的列：a, b。"
    assert catalogue.hint("zh", "not_grouped", "Add it to GROUP BY.") == catalogue.hints("zh")["not_grouped"]
    # Where nothing was said, or nothing is known, nothing is made up.
    assert catalogue.hint("zh", "not_grouped", "") == ""
    assert catalogue.hint("zh", "a_code_of_another_version", "Wait.") == ""
    assert catalogue.hint("en", "unknown_column", "Did you mean clinic?") == ""


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
