"""What lists, histories and those who watch all jobs are told: on a real database, nothing computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import update
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import BudgetHistory
from yingbi.api.v1.job_pb2 import JobHistory, ListJobSummariesRequest, ListJobSummariesResponse

from gateway.governance.callers import Role
from gateway.jobs import records, states, summaries
from gateway.jobs.feed import Feed
from gateway.ledger import history, ledger
from gateway.storage import audit
from gateway.storage.tables import charges
from tests.gateway.jobs.test_admission import DATASET, Account, Scene

ADA = Account("ada", "college", Role.DEVELOPER)
BEN = Account("ben", "institute", Role.DEVELOPER)
OPERATOR = Account("olga", "operations", Role.OPERATOR)
PROVIDER = Account("pia", "hospital", Role.PROVIDER)
AUDITOR = Account("ari", "audits", Role.AUDITOR)


class Shown(Scene):
    """A gateway whose jobs are looked at."""

    def page(self, who: Account, before: int | None = None, **wanted: object) -> ListJobSummariesResponse:
        request = ListJobSummariesRequest(**wanted)  # type: ignore[arg-type]
        return asyncio.run(self.database.run(summaries.page, who.caller, request, before, stage))

    def names(self, who: Account, **wanted: object) -> list[str]:
        return [each.job for each in self.page(who, None, **wanted).jobs]

    def history(self, who: Account, job: str) -> JobHistory:
        return asyncio.run(self.database.run(summaries.history, who.caller, job, stage))

    def move(self, job: str, state: states.State) -> None:
        asyncio.run(self.database.run(records.move, job, state))

    def budget(self, organisation: str | None) -> BudgetHistory:
        return asyncio.run(self.database.run(history.of_dataset, DATASET.declaration, organisation))


def stage(job: str) -> str:
    return "opening"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Shown]:
    (tmp_path / "gateway").mkdir()
    scene = Shown(tmp_path / "gateway")
    yield scene
    scene.database.close()


def refusal(act: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        act()
    return caught.value


def test_developers_see_their_own_jobs_and_others_all_newest_first(scene: Shown) -> None:
    first, second = scene.submit(ADA, "n", 0.2).job, scene.submit(BEN, "m", 0.2).job
    assert scene.names(ADA) == [first]
    assert scene.names(OPERATOR) == scene.names(PROVIDER) == [second, first]
    assert refusal(lambda: scene.history(ADA, second)).code == "unknown_job"
    for other in (replace(OPERATOR.caller, scopes=frozenset()), replace(PROVIDER.caller, given=frozenset())):
        listed = partial(summaries.page, caller=other, request=ListJobSummariesRequest(), before=None, stage=stage)
        assert refusal(lambda listed=listed: asyncio.run(scene.database.run(listed))).code in (  # type: ignore[misc]
            "not_allowed",
            "other_scope",
        )


def test_a_list_is_filtered_and_comes_in_pages(scene: Shown) -> None:
    jobs = [scene.submit(ADA, f"n{number}", 0.1).job for number in range(3)]
    scene.move(jobs[1], states.RUNNING)
    assert scene.names(OPERATOR, states=[states.RUNNING]) == [jobs[1]]
    assert scene.names(OPERATOR, states=[states.RUNNING, states.QUEUED]) == jobs[::-1]
    assert scene.names(OPERATOR, dataset="visits") == jobs[::-1]
    assert scene.names(OPERATOR, dataset="other") == []
    page = scene.page(OPERATOR, page_size=2)
    assert [each.job for each in page.jobs] == jobs[:0:-1]
    rest = scene.page(OPERATOR, int(page.next_page_token), page_size=2)
    assert ([each.job for each in rest.jobs], rest.next_page_token) == (jobs[:1], "")


def test_a_row_says_what_the_ledger_has(scene: Shown) -> None:
    job = scene.submit(ADA, "n", 0.2)
    row = scene.page(ADA).jobs[0]
    assert (row.charge, row.rho_units, row.epsilon, row.kind) == ("reserved", job.budget.spent_rho_units, 0.2, "query")
    asyncio.run(scene.database.run(ledger.refund, job.job))
    assert scene.page(ADA).jobs[0].charge == "refunded"


def test_what_the_nodes_are_doing_is_told_to_operators_alone(scene: Shown) -> None:
    """How long a step takes depends on the data; the time grid of releases hides that from whoever asks."""
    job = scene.submit(ADA, "n", 0.2).job
    assert scene.page(OPERATOR).jobs[0].stage == "", "it does not run"
    scene.move(job, states.RUNNING)
    assert scene.page(OPERATOR).jobs[0].stage == scene.history(OPERATOR, job).job.stage == "opening"
    for other in (ADA, PROVIDER, AUDITOR):
        assert scene.page(other).jobs[0].stage == scene.history(other, job).job.stage == ""


def test_a_stage_wakes_nobody_else() -> None:
    """A change of nothing that is shown would tell when it happened."""

    async def watch() -> None:
        feed = Feed()
        operators, others, own = feed.watch_all(stages=True), feed.watch_all(), feed.watch("job-1")
        feed.stage_changed("job-1")
        assert await operators.take() == {"job-1"}
        assert not own.is_set()
        feed.changed("job-2")
        assert await others.take() == {"job-2"}, "without job-1"
        feed.leave_all(operators)
        feed.stage_changed("job-1")
        feed.changed("job-3")
        assert await others.take() == {"job-3"}

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_changes_are_told_of_jobs_that_one_may_see(scene: Shown) -> None:
    first, second = scene.submit(ADA, "n", 0.2).job, scene.submit(BEN, "m", 0.2).job

    def told(who: Account) -> list[str]:
        found = asyncio.run(scene.database.run(summaries.changes, who.caller, {first, second, "job-none"}))
        return [each.job for each in found]

    assert (told(ADA), told(BEN), told(OPERATOR)) == ([first], [second], [first, second])


def test_a_history_is_of_states_and_for_whoever_reads_the_record_of_everything(scene: Shown) -> None:
    job = scene.submit(ADA, "n", 0.2).job
    scene.move(job, states.RUNNING)
    for who in (ADA, PROVIDER, AUDITOR):
        events = scene.history(who, job).events
        assert [(each.action, each.state) for each in events] == [
            ("job.submit", states.QUEUED),
            ("job.state", states.RUNNING),
        ]
        assert events[0].person == "ada"
    assert scene.history(ADA, job).may_not_stop == scene.history(OPERATOR, job).may_not_stop == ""
    assert "ari" in scene.history(AUDITOR, job).may_not_stop
    scene.move(job, states.FAILED)
    assert "cannot become cancelled" in scene.history(ADA, job).may_not_stop


def test_a_budget_s_history_adds_up_and_names_to_a_developer_no_other_organisation(scene: Shown) -> None:
    scene.submit(ADA, "n", 0.2)
    scene.submit(BEN, "m", 0.3)
    gone = scene.submit(BEN, "k", 0.1).job
    asyncio.run(scene.database.run(ledger.refund, gone))
    everybody, own = scene.budget(None), scene.budget("college")
    for found in (everybody, own):
        assert sum(each.rho_units for each in found.points) == found.budget.spent_rho_units
        assert sum(each.spent_rho_units for each in found.organisations) == found.budget.spent_rho_units
    assert [each.organisation for each in everybody.organisations] == ["institute", "college"]
    assert {each.organisation for each in own.points} == {"college", ""}
    assert {each.organisation for each in own.organisations} == {"college", ""}
    assert "institute" not in str(own)
    assert not scene.budget("nobody-yet").budget.organisation.spent_rho_units


def test_a_long_history_is_told_in_longer_spans(scene: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 2e9
    for number, (years, span) in enumerate(((0, 60), (0.02, 3_600), (3, 86_400), (30, 86_400))):
        monkeypatch.setattr(scene.admission, "_clock", lambda years=years: now - years * 365 * 86_400)
        scene.submit(ADA, f"n{number}", 0.1)
        found = scene.budget(None)
        assert found.span_seconds == span
        assert sum(each.rho_units for each in found.points) == found.budget.spent_rho_units
        times = [each.at.seconds for each in found.points]
        assert times == sorted(times)
        assert now - span <= times[-1] <= now


def test_a_charge_without_a_time_is_told_when_its_job_went_on_last(
    scene: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of before there was one. It may have waited for long: what is charged then, is charged then."""
    job = scene.submit(ADA, "n", 0.1).job
    asyncio.run(scene.database.run(lambda connection: connection.execute(update(charges).values(charged=None))))
    monkeypatch.setattr(audit, "time", SimpleNamespace(time=lambda: 3e9))
    scene.move(job, states.RUNNING)
    (point,) = scene.budget(None).points
    assert point.at.seconds == 3e9
