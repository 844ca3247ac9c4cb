"""What lengths tell: design section 3, answers are a function of data and noise only, and so are no lengths."""

from __future__ import annotations

from yingbi.api.v1.node_pb2 import Contribution, OpeningShare

from tests.attacks.three_enclaves import WIDE_QUERY, Trio, visits_declaration, visits_of, visits_table


def _lengths(messages: list[Contribution] | list[OpeningShare]) -> set[int]:
    return {message.ByteSize() for message in messages}


def test_an_empty_shard_sends_as_much_as_a_full_one(trio: Trio) -> None:
    """No length depends on a row: not the ciphertexts', not the message's, not a share's."""
    empty = visits_table(person=[], clinic=[], pain=[], age=[], night=[])
    extreme = visits_table(
        person=[7] * 1000, clinic=["east"] * 1000, pain=[1e308] * 1000, age=[-(2**63)] * 1000, night=[None] * 1000
    )
    trio.add(visits_declaration("uneven"), [empty, visits_of(1, people=60), extreme])
    for number, sql in enumerate((WIDE_QUERY, "SELECT COUNT(*) FROM visits")):
        plan = trio.plan(sql, dataset="uneven")
        contributions = trio.contribute(f"job-{number}", trio.task(plan, request_id=f"request-{number}"))
        width = {len(data) for one in contributions for data in one.ciphertexts}
        assert width == {2 * trio.enclaves[0].key.public.bits // 8}
        assert len(_lengths(contributions)) == 1
        shares = trio.open(f"job-{number}", contributions)
        assert len(_lengths(shares)) == 1
        receipts = trio.sign(f"job-{number}", shares)
        assert len({len(one.receipt_body) for one in receipts}) == 1


def test_two_versions_of_the_data_send_as_much(trio: Trio) -> None:
    """One node's messages for a plan have one length, whatever it holds."""
    sizes = []
    for number, people in enumerate((0, 1, 60)):
        trio.add(visits_declaration("same"), [visits_of(node, people) for node in range(3)])
        plan = trio.plan(dataset="same")
        contributions = trio.contribute(f"job-{number}", trio.task(plan, request_id=f"request-{number}"))
        for one in contributions:
            # Tells how many jobs there were before, not what they were about.
            one.ClearField("heads")
        sizes.append([one.ByteSize() for one in contributions])
    assert sizes[0] == sizes[1] == sizes[2]
