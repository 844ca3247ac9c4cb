"""Long vectors travel in several messages, and what is put together is what was sent, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import parts
from yingbi.api.parts import PART_BYTES, TaskParts, is_last, numbers_in_part, sign_tasks, split_result
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import (
    CancelTask,
    Contribution,
    OpenedTotal,
    OpeningShare,
    OpenTask,
    PlaintextProof,
    ReceiptSignature,
    ShareProof,
    SignTask,
    Task,
    TaskResult,
)
from yingbi.api.v1.receipt_pb2 import EnclaveSignature, SignedContribution

SMALL_PART = 64
SIGNED = SignedContribution(body=b"body", signature=b"signature")
PROOF = PlaintextProof(challenge=b"c", root=b"root")

widths = st.sampled_from([1, 7, 32, 63, 64, 65, 200])


@st.composite
def vectors(draw: st.DrawFn) -> list[bytes]:
    width = draw(widths)
    return [bytes([index % 256]) * width for index in range(draw(st.integers(0, 40)))]


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> object:
    """Parts so small that short vectors have many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", SMALL_PART)
        patch.setattr(parts, "_CELLS", SMALL_PART // 8)
        yield


def size(numbers: list[bytes]) -> int:
    return sum(map(len, numbers))


@given(vectors())
def test_a_contribution_in_parts_is_the_whole_one(numbers: list[bytes]) -> None:
    whole = TaskResult(id="t", job="j", contribution=Contribution(signed=SIGNED, ciphertexts=numbers, proof=PROOF))
    messages = list(split_result(whole))
    put: list[bytes] = []
    for message in messages:
        assert (message.id, message.job) == ("t", "j")
        assert message.contribution.part.first == len(put)
        put += message.contribution.ciphertexts
    assert put == numbers
    assert [is_last(message) for message in messages] == [False] * (len(messages) - 1) + [True]
    # What is signed comes with the last and with no other, so that a beginning is not taken for a whole.
    assert [message.contribution.HasField("signed") for message in messages] == [is_last(one) for one in messages]
    last = messages[-1].contribution
    assert (last.signed, last.proof) == (SIGNED, PROOF)


@given(vectors())
def test_an_opening_share_in_parts_is_the_whole_one(numbers: list[bytes]) -> None:
    share = OpeningShare(body=b"b", signature=b"s", partials=numbers, proof=ShareProof(challenge=b"c", response=b"r"))
    messages = list(split_result(TaskResult(id="t", job="j", opening_share=share)))
    put = [number for message in messages for number in message.opening_share.partials]
    last = messages[-1].opening_share
    assert OpeningShare(body=last.body, signature=last.signature, partials=put, proof=last.proof) == share
    assert [is_last(message) for message in messages] == [False] * (len(messages) - 1) + [True]
    assert not any(message.opening_share.body for message in messages[:-1])


@given(st.binary(max_size=300))
def test_a_receipt_in_parts_is_the_whole_one(body: bytes) -> None:
    signed = ReceiptSignature(receipt_body=body, signature=EnclaveSignature(node="n", signature=b"s"))
    messages = list(split_result(TaskResult(id="t", job="j", receipt_signature=signed)))
    put = b""
    for message in messages:
        assert message.receipt_signature.part.first == len(put)
        assert len(message.receipt_signature.receipt_body) <= SMALL_PART
        put += message.receipt_signature.receipt_body
    assert put == body
    assert messages[-1].receipt_signature.signature == signed.signature
    assert [is_last(message) for message in messages] == [False] * (len(messages) - 1) + [True]
    assert not any(message.receipt_signature.HasField("signature") for message in messages[:-1])


@given(vectors())
def test_no_message_is_longer_than_a_part_unless_one_number_is(numbers: list[bytes]) -> None:
    result = TaskResult(contribution=Contribution(ciphertexts=numbers))
    for message in split_result(result):
        part = list(message.contribution.ciphertexts)
        assert size(part) <= SMALL_PART or len(part) == 1


@pytest.mark.parametrize("result", [TaskResult(failure=Failure(code="x")), TaskResult(id="nothing")])
def test_what_has_no_vector_is_one_message(result: TaskResult) -> None:
    assert list(split_result(result)) == [result]
    assert is_last(result)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_as_many_numbers_as_fit_are_in_a_part_and_one_at_least(width: int, vectors: int) -> None:
    count = numbers_in_part(width, vectors)
    assert count == 1 or count * width * vectors <= SMALL_PART
    assert (count + 1) * width * vectors > SMALL_PART


def joined(keeper: TaskParts, messages: list[Task], name: str = "t") -> Task | None:
    whole = None
    for message in messages:
        assert whole is None
        message.id = name
        whole = keeper.add(message)
    return whole


@given(
    st.lists(st.integers(-(2**62), 2**62), max_size=60),
    st.lists(st.binary(min_size=24, max_size=24), max_size=12),
)
def test_an_opened_total_in_parts_is_the_whole_one(cells: list[int], randomness: list[bytes]) -> None:
    """However many cells and roots there are of each: neither waits for the other to end."""
    opened = OpenedTotal(cells=cells, randomness=randomness)
    messages = list(sign_tasks("j", opened))
    whole = joined(TaskParts(1 << 20), messages)
    assert whole is not None
    assert (whole.job, whole.sign.opened) == ("j", opened)
    assert [message.more for message in messages] == [True] * (len(messages) - 1) + [False]


def part(name: str, numbers: list[bytes], *, more: bool, holders: int = 2) -> Task:
    """A message of a task to open a total."""
    contributions = [Contribution(ciphertexts=numbers) for _ in range(holders)]
    if not more:
        for one in contributions:
            one.signed.CopyFrom(SIGNED)
            one.proof.CopyFrom(PROOF)
    return Task(id=name, job="j", open=OpenTask(contributions=contributions), more=more)


def test_the_messages_of_several_tasks_may_be_mixed() -> None:
    keeper = TaskParts(1 << 20)
    assert keeper.add(part("one", [b"1"], more=True)) is None
    assert keeper.add(part("two", [b"a"], more=True)) is None
    assert keeper.add(part("one", [b"2"], more=True)) is None
    two = keeper.add(part("two", [b"b"], more=False))
    one = keeper.add(part("one", [b"3"], more=False))
    assert one is not None
    assert two is not None
    assert [list(each.ciphertexts) for each in one.open.contributions] == [[b"1", b"2", b"3"]] * 2
    assert [list(each.ciphertexts) for each in two.open.contributions] == [[b"a", b"b"]] * 2
    assert all((each.signed, each.proof) == (SIGNED, PROOF) for each in one.open.contributions)


def test_a_task_that_is_given_again_begins_anew_after_it_was_whole() -> None:
    keeper = TaskParts(1 << 20)
    for _ in range(2):
        whole = joined(keeper, [part("t", [b"1"], more=True), part("t", [b"2"], more=False)])
        assert whole is not None
        assert [list(each.ciphertexts) for each in whole.open.contributions] == [[b"1", b"2"]] * 2


@pytest.mark.parametrize(
    "other",
    [
        Task(id="t", sign=SignTask()),
        Task(id="t", cancel=CancelTask()),
        part("t", [b"2"], more=False, holders=3),
    ],
    ids=["another kind", "a kind of one message", "another number of contributions"],
)
def test_messages_that_do_not_belong_together_make_no_task(other: Task) -> None:
    keeper = TaskParts(1 << 20)
    keeper.add(part("t", [b"1"], more=True))
    with pytest.raises(Problem) as refused:
        keeper.add(other)
    assert refused.value.code == "lost_part"
    # What was begun is gone with it: the task, sent again, is whole.
    assert joined(keeper, [part("t", [b"1"], more=True), part("t", [b"2"], more=False)]) is not None


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200))
def test_what_lacks_a_message_never_takes_more_than_its_bound(names: list[int]) -> None:
    """A gateway that begins tasks and ends none does not fill an enclave's memory."""
    bound = 1000
    keeper = TaskParts(bound)
    for name in names:
        keeper.add(part(str(name), [b"x" * 100], more=True))
        assert sum(task.ByteSize() for task in keeper._begun.values()) <= bound


def test_the_task_that_began_first_is_forgotten_first_and_fails_by_its_proofs() -> None:
    """Its later messages alone are too short a vector, which the digest that was signed tells (`manifest_of`)."""
    keeper = TaskParts(700)
    keeper.add(part("old", [b"x" * 200], more=True))
    keeper.add(part("new", [b"y" * 200], more=True))
    old = keeper.add(part("old", [b"z"], more=False))
    new = keeper.add(part("new", [b"z"], more=False))
    assert old is not None
    assert new is not None
    assert [list(each.ciphertexts) for each in old.open.contributions] == [[b"z"]] * 2
    assert [list(each.ciphertexts) for each in new.open.contributions] == [[b"y" * 200, b"z"]] * 2


def test_a_part_is_small_beside_what_grpc_takes() -> None:
    assert PART_BYTES <= 4 << 20
