"""Nodes that join take over what was spent: whoever comes and goes, a zone never spends more than its budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.evidence import EvidenceError
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.standing_pb2 import Standing

from enclave_sim.budget import budget_of, check_charge, namespace_budget_of
from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import Charge
from enclave_sim.standing import check_covers, standing_of, taken_over
from gateway.zone.standings import merged

NAMESPACES = {"visits": "patient", "labs": "patient", "staff": "staff"}
names = st.sampled_from(sorted(NAMESPACES))


def declared(name: str) -> DatasetDeclaration:
    return DatasetDeclaration(dataset=name, unit_namespace=NAMESPACES[name])


def sealed(name: str, limit: int, delta0: int = 9) -> Record:
    return _record("budget", name, limit=limit, delta0_limit=delta0)


def charge(name: str, rho: int, delta0: int = 0) -> Record:
    return _record("charge", name, job="j", rho_units=rho, delta0_units=delta0)


def _record(kind: str, name: str, **rest: str | int) -> Record:
    return {"kind": kind, "dataset": name, "unit_namespace": NAMESPACES[name], **rest}


@st.composite
def journals(draw: st.DrawFn) -> list[Record]:
    """What an enclave may have lived through: limits are set, lowered, and spent from, in any order."""
    records: list[Record] = []
    for name, limit, lowered in draw(st.lists(st.tuples(names, st.integers(1, 100), st.booleans()), max_size=12)):
        present = budget_of(records, name)
        if present is None or (lowered and limit <= present.limit.rho_units):
            records.append(sealed(name, limit))
        else:
            records.append(charge(name, min(limit, 10), limit % 2))
    return records


def budgets(records: list[Record]) -> list[object]:
    return [
        (budget_of(records, name), namespace_budget_of(records, declared(name)))
        for name in NAMESPACES
        if budget_of(records, name)
    ]


@given(journals())
def test_a_new_journal_says_of_every_budget_what_the_old_one_does(records: list[Record]) -> None:
    taken = taken_over(standing_of(records), [])
    assert budgets(taken) == budgets(records)
    assert taken_over(standing_of(records), records) == []


@given(journals(), journals(), st.data())
def test_a_crash_while_it_is_written_down_changes_nothing(
    records: list[Record], own: list[Record], data: st.DataObject
) -> None:
    standing = merged([standing_of(records), standing_of(own)], b"")
    whole = [*own, *taken_over(standing, own)]
    cut = data.draw(st.integers(len(own), len(whole)))
    begun = whole[:cut]
    check_covers(standing, standing_of(begun))
    assert budgets([*begun, *taken_over(standing, begun)]) == budgets(whole)


@given(journals(), journals())
def test_what_several_journals_say_together_covers_each(one: list[Record], other: list[Record]) -> None:
    both = merged([standing_of(one), standing_of(other)], b"salt")
    check_covers(both, standing_of(one))
    check_covers(both, standing_of(other))
    assert both.salt == b"salt"


RECORDS = [sealed("visits", 100), sealed("labs", 50), charge("visits", 30, 2), charge("labs", 20)]


def _less_spent(standing: Standing) -> None:
    standing.datasets[0].spent_rho_units -= 1


def _less_delta0_spent(standing: Standing) -> None:
    standing.datasets[0].spent_delta0_units -= 1


def _raised(standing: Standing) -> None:
    standing.datasets[1].limit_rho_units += 1


def _namespace_raised(standing: Standing) -> None:
    standing.namespaces[0].limit_delta0_units += 1


def _namespace_gone(standing: Standing) -> None:
    del standing.namespaces[:]


def _dataset_gone(standing: Standing) -> None:
    del standing.datasets[1]


def _moved(standing: Standing) -> None:
    standing.datasets[1].unit_namespace = "labs"


@pytest.mark.parametrize(
    "change", [_less_spent, _less_delta0_spent, _raised, _namespace_raised, _namespace_gone, _dataset_gone, _moved]
)
def test_a_standing_that_would_give_back_anything_is_refused(change: Callable[[Standing], None]) -> None:
    standing = standing_of(RECORDS)
    check_covers(standing, standing_of(RECORDS))
    change(standing)
    with pytest.raises(EvidenceError, match="standing"):
        check_covers(standing, standing_of(RECORDS))


@dataclass
class Zone:
    """Nodes that come and go, as `yingbi node` does it, and what was released."""

    journals: dict[int, list[Record]]
    named: int
    standing: Standing = field(default_factory=Standing)
    is_taken: bool = True
    released: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMESPACES, 0))

    def change(self, leaving: int | None, joins: bool, starts: bool) -> None:
        """A new epoch; where it `starts`, its holders take it."""
        if leaving is not None and len(self.journals) > 1:
            del self.journals[sorted(self.journals)[leaving % len(self.journals)]]
        staying = [standing_of(journal) for journal in self.journals.values()]
        self.standing = merged([self.standing, *staying], b"")
        self.is_taken = False
        if joins:
            self.named += 1
            self.journals[self.named] = []
        if starts:
            self.start()

    def start(self) -> None:
        if self.is_taken:
            return
        self.is_taken = True
        for journal in self.journals.values():
            check_covers(self.standing, standing_of(journal))
            journal.extend(taken_over(self.standing, journal))

    def ask(self, name: str, rho: int, reached: int) -> None:
        """A job that is released where every holder charges it, after the first `reached` of them have."""
        self.start()
        for number, journal in enumerate(self.journals.values()):
            try:
                check_charge(journal, declared(name), Charge(rho))
            except Problem:
                return
            if number == reached:
                return
            journal.append(charge(name, rho))
        self.released[name] += rho


# Mostly the oldest node leaves, another joins, and a job reaches all: else nothing is forgotten or released.
changes = st.tuples(
    st.just("change"), st.sampled_from([0, 0, 1, None]), st.sampled_from([True, True, False]), st.booleans()
)
questions = st.tuples(st.just("ask"), names, st.sampled_from([10, 30, 50]), st.sampled_from([9, 9, 1, 0]))


@given(st.integers(1, 3), st.lists(changes | questions, min_size=8, max_size=30))
def test_no_coming_and_going_makes_more_budget(nodes: int, steps: list[tuple[object, ...]]) -> None:
    """Also where an epoch never runs, and where every node that saw a question has left."""
    limits = {"visits": 100, "labs": 50, "staff": 40}
    records = [sealed(name, limit) for name, limit in limits.items()]
    zone = Zone({number: list(records) for number in range(1, nodes + 1)}, nodes)
    for kind, *arguments in steps:
        getattr(zone, str(kind))(*arguments)
        assert all(zone.released[name] <= limit for name, limit in limits.items())
        assert zone.released["visits"] + zone.released["labs"] <= 100


def test_without_it_replacing_the_nodes_would_make_all_of_it_anew() -> None:
    """What the property above is there for."""
    zone = Zone({1: [sealed("visits", 100)]}, 1)
    zone.ask("visits", 100, 9)
    zone.change(None, joins=True, starts=True)
    zone.change(0, joins=False, starts=True)
    assert sorted(zone.journals) == [2]
    zone.ask("visits", 1, 9)
    assert zone.released["visits"] == 100
