"""Uses of deployed models in a journal: against a plain list of them, whatever clocks and restarts do."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.metering import Used
from yingbi.api.problem import Problem
from yingbi.api.v1.deployment_pb2 import DeploymentTerms

from enclave_sim.journal import Journal
from enclave_sim.uses import Uses

DAY = 86_400
PER_DAY, IN_ALL = 5, 12
TERMS = DeploymentTerms(deployment="bmi-1", rows_per_day=PER_DAY, rows_total=IN_ALL)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["clinic", "insurer"]),
        st.sampled_from([b"first", b"second"]),
        st.integers(1, 4),
        # Days from the beginning, forward and back, near midnight.
        st.integers(0, 4).flatmap(lambda day: st.integers(day * DAY - 1, day * DAY + 1)).filter(lambda at: at >= 0),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=30)
@given(STEPS)
def test_what_is_counted_is_within_limits_by_a_clock_that_never_goes_back(
    steps: list[tuple[str, bytes, int, int, bool]],
) -> None:
    key = bytes(32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        journal = Journal(path, key)
        uses = Uses(journal)
        plain: list[tuple[str, bytes, int, int]] = []
        for organisation, deployment, rows, now, restarts in steps:
            if restarts:
                journal.close()
                journal = Journal(path, key)
                uses = Uses(journal)
            at = max([now, *(each[3] for each in plain)])
            own = [each for each in plain if each[:2] == (organisation, deployment)]
            today = sum(each[2] for each in own if each[3] // DAY == at // DAY)
            total = sum(each[2] for each in own)
            left = min(PER_DAY - today, IN_ALL - total)

            count = partial(uses.count, TERMS, deployment, organisation, rows, secrets.token_bytes(8), now)
            if rows > left:
                with pytest.raises(Problem) as refused:
                    count()
                assert (refused.value.code, int(refused.value.details["left"])) == ("uses_exhausted", left)
            else:
                assert count() == Used(today + rows, total + rows)
                plain.append((organisation, deployment, rows, at))
        with closing(journal):
            assert len(journal.records) == len(plain)
