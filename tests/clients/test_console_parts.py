"""Parts of pages, as a reader sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yingbi_dashboard
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from yingbi.api.v1.agreement_pb2 import RegisteredAgreement
from yingbi.api.v1.job_pb2 import ListJobSummariesResponse
from yingbi.api.v1.stop_pb2 import StopPreview, StopScope
from yingbi.stops import moment
from yingbi_dashboard import agreements_page, catalogue
from yingbi_dashboard.stop_proofs import shown

from tests.clients.test_console_stop_proofs import ENCLAVES, lifted

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(yingbi_dashboard.__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def said(template: str, **content: object) -> str:
    return TEMPLATES.get_template(template).render(t=partial(catalogue.say, "en"), **content)


class Hitting:
    """A gateway whose agreement has no job under way, and a deployed model."""

    def list_job_summaries(self, wanted: object) -> ListJobSummariesResponse:
        return ListJobSummariesResponse()

    def preview_stop(self, scope: StopScope.ValueType, subject: str) -> StopPreview:
        assert (scope, subject) == (StopScope.STOP_SCOPE_AGREEMENT, "falls")
        return StopPreview(deployments=["bmi-1"])

    def get_agreement(self, name: str) -> RegisteredAgreement:
        """One that came in no other's place."""
        return RegisteredAgreement()


class Serving:
    async def ask(self, request: Request, call: Callable[[Any], Any]) -> Any:
        return call(Hitting())

    def page(self, request: Request, template: str, **content: object) -> str:
        return said(template, **content)


def test_who_suspends_or_terminates_first_sees_the_deployed_models_that_it_ends() -> None:
    console: Any = Serving()
    (route,) = (each for each in agreements_page.routes(console) if each.path.endswith("/hits"))
    asked = Request({"type": "http", "path_params": {"agreement": "falls"}})
    found: Any = asyncio.run(route.endpoint(asked))
    assert "<code>bmi-1</code>" in found
    assert "No job under this agreement waits or runs." in found


def proofs_part(change: Callable[[Any], object] = lambda record: None) -> str:
    record = lifted()
    record.lifted.FromSeconds(1_800_000_000)
    change(record)
    found = [shown(record, ENCLAVES)]
    return said("stop_proofs.html", found=found, problem="", again="/", moment=moment, shown=str, at=str)


def test_of_a_lifted_stop_both_words_of_a_node_are_called_verified() -> None:
    found = proofs_part()
    assert found.count("verified: its enclave signed this") == 4
    assert found.count('class="holds"') == 2
    assert "hx-get" not in found


@pytest.mark.parametrize("field", ["proof", "lift_proof"])
def test_a_node_one_of_whose_words_does_not_hold_is_marked_so(field: str) -> None:
    found = proofs_part(lambda record: setattr(getattr(record.nodes[0], field), "signature", bytes(64)))
    assert found.count("NOT VERIFIED") == 1
    assert (found.count('class="fails"'), found.count('class="holds"')) == (1, 1)


def test_a_proof_that_is_not_shown_is_not_called_signed() -> None:
    def hide(record: Any) -> None:
        record.nodes[0].ClearField("proof")
        record.nodes[0].ClearField("lift_proof")
        record.nodes[0].confirmed.FromMilliseconds(1_800_000_000_123)

    found = proofs_part(hide)
    assert "stopped at 2027-01-15" in found
    assert "confirmed, not shown: it names others&#39; jobs" in found
    assert found.count('class="holds"') == 1
