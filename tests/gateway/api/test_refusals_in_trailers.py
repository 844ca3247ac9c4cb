"""How a problem travels: whole, and where it repeats something long, cut to what clients take in a trailer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem

from gateway.api.errors import MAX_SENTENCE, Context, abort, cut

# Beyond this clients refuse trailers.
TRAILERS = 8192


class Ended(Exception):
    """What ends a call."""


class Call:
    """Takes note of how it ended."""

    async def abort(self, code: object, message: str, trailing: tuple[tuple[str, bytes]]) -> None:
        self.message, ((_, self.details),) = message, trailing
        raise Ended


def ended(problem: Problem) -> Call:
    call = Call()
    with pytest.raises(Ended):
        asyncio.run(abort(cast(Context, call), problem))
    return call


def information(call: Call) -> Any:
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(call.details).details[0].Unpack(info)
    return info


def test_a_problem_travels_with_all_its_parts() -> None:
    said = "There is no dataset 'vists'."
    problem = Problem(Kind.UNKNOWN, "unknown_dataset", said, field="dataset", hint="Did you mean visits?")
    call = ended(problem)
    assert (call.message, information(call).reason) == (said, "unknown_dataset")
    assert dict(information(call).metadata) == {"field": "dataset", "hint": "Did you mean visits?"}


def test_half_of_a_surrogate_pair_does_not_hide_a_reason() -> None:
    call = ended(Problem(Kind.UNKNOWN, "unknown_job", "There is no job '\ud800'.", hint="\ud800"))
    assert (call.message, information(call).reason) == ("There is no job '?'.", "unknown_job")


@pytest.mark.parametrize("letter", ["x", "名", "🙂", "\0", '"', "\ud800"])
def test_whatever_it_repeats_it_fits_and_keeps_its_reason(letter: str) -> None:
    long = letter * 100_000
    details = {f"{number}": long for number in range(9)}
    call = ended(Problem(Kind.UNKNOWN, "unknown_job", long, field="job", hint=long, details=details))
    percent_encoded = sum(1 if 32 <= byte < 127 else 3 for byte in call.message.encode())
    assert percent_encoded + len(call.details) * 4 / 3 < TRAILERS
    assert information(call).reason == "unknown_job"
    assert information(call).metadata["field"] == "job"


@given(st.text(max_size=30), st.integers(3, 40))
def test_what_is_cut_is_a_beginning_and_says_so(text: str, most: int) -> None:
    kept = cut(text, most)
    assert len(kept.encode()) <= most
    assert kept == text or (kept.endswith("...") and text.startswith(kept[:-3]))


def test_a_sentence_is_not_cut_before_it_must_be() -> None:
    assert cut("x" * MAX_SENTENCE, MAX_SENTENCE) == "x" * MAX_SENTENCE
