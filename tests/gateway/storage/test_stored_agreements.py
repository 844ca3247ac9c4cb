"""Registered agreements: kept as they are, about a dataset that is there, and shown to those they are with."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem

from gateway.storage import agreements as registered
from tests.gateway.ledger.test_ledger_agreements import FALLS, TWICE, Books, agreement, books

__all__ = ["books"]


def test_registered_again_it_is_the_same_and_with_other_terms_it_is_refused(books: Books) -> None:
    books.under("job-1", TWICE, 9)
    assert books.run(registered.register, TWICE, 0.0).budget == books.state(TWICE)
    with pytest.raises(Problem) as refusal:
        books.run(registered.register, agreement("twice", uses=3), 0.0)
    assert refusal.value.code == "agreement_exists"
    assert books.state(TWICE).max_uses == 2


@pytest.mark.requirement("CAT-05")
def test_it_is_about_a_dataset_that_is_there(books: Books) -> None:
    with pytest.raises(Problem) as refusal:
        books.run(registered.register, agreement("other", dataset="trail"), 0.0)
    assert (refusal.value.code, refusal.value.hint) == ("unknown_dataset", "did you mean trial?")


def test_others_do_not_see_it(books: Books) -> None:
    assert [each.agreement for each in books.run(registered.list_all, "", "clinic")] == [FALLS, TWICE]
    assert books.run(registered.list_all, "", "bureau") == books.run(registered.list_all, "visits", None) == []
    assert len(books.run(registered.list_all, "trial", None)) == 2
    assert books.run(registered.show, "falls", "clinic") == books.run(registered.show, "falls")
    with pytest.raises(Problem) as unlike:
        books.run(registered.show, "falls", "bureau")
    with pytest.raises(Problem) as unknown:
        books.run(registered.show, "fall", "clinic")
    assert unlike.value.code == unknown.value.code == "unknown_agreement"
