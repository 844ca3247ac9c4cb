"""No roll-back: what enclaves tell each other of their journals, so that one that forgot something is refused.

A *head* is a state of a journal: the number of its records, and the digest that chains them all. Beside a contribution
an enclave signs its heads at this and at its latest contributions. Whoever consents to a total writes every peer's head
at that job into its own journal, in the record that binds it; and it consents only if each peer's statement goes on
from what it has seen of that peer: the highest head that it knew when it was charged for the job is not beyond the
statement, and each head that it knows in the statement's range is in the statement.

Why that refuses a restored node. Statements come from the enclave's own code, and without it no journal is written. One
that was put back has, at the number of records where a peer has seen the lost head, no record or another one. Then its
digest is another, whatever is appended after: counting ahead does not help, since the record of a contribution names
random ciphertexts. So the statement lacks the head, and the peer refuses.

What follows, beside `consents`. For a total to be opened, every holder contributes, so is charged, and every holder
consents, so has every peer's head at that job. For such a charge to be forgotten everywhere, every journal has to be
put back to before it, and one that is put back alone is refused by each peer that was not. So nodes that are restored
by mishap, one after another, forget no budget as long as a job is asked for in between.

What is not noticed. A node may lose what came after its last contribution to a total: openings, cancellations, a budget
that was lowered. None of it lets a job be opened twice (`consents`). A head that is learned after this enclave was
charged for a job does not count against that job, since jobs overlap; it counts in the next. A whole zone that is put
back to one moment agrees with itself.

In a new key epoch heads begin anew: nothing that was begun in an earlier one is opened, and what any journal has spent
is in the standing that every holder takes over (`standing`). So `yingbi node rekey` lets a restored node take part
again. One that lost its files altogether is removed, and another one added.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.node_pb2 import Contribution, HeadsBody, JournalHead, SignedHeads

from enclave_sim.bodies import read_body
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal, Record

# Of a record's MAC: nobody can look for another journal that has the same.
DIGEST_BYTES = 16
CHANGED = "rolled_back"
HINT = "give the zone a new key with `yingbi node rekey`, in which every node takes over what was spent"


class Heads:
    """An enclave's own heads and those that it has seen, as its journal has them, in the present key epoch.

    For one thread: that of the enclave's tasks.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read = 0
        # The record at which statements begin: as the journal has it, and as it is to be in the next contribution.
        self._since = 0
        self._acknowledged = 0
        # Of each job that this enclave contributed to: how many records its journal had then.
        self._own: dict[str, int] = {}
        # Of each peer: the digests that were seen, by counter; and those counters, sorted.
        self._known: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._order: dict[str, list[int]] = defaultdict(list)
        # Of each job: the highest counter of each peer that was known when it was charged here.
        self._at_charge: dict[str, dict[str, int]] = {}

    def since(self) -> int:
        """At which of its own records the heads begin that go with a contribution made now: all peers have seen it."""
        self._update()
        return max(self._since, self._acknowledged)

    def acknowledge(self, job: str) -> None:
        """All holders have seen this enclave's head at this job: they consented, or it could not have been opened.

        Kept in memory and written with the next contribution; lost, it makes the next statements longer and no more.
        """
        self._update()
        self._acknowledged = max(self._acknowledged, self._own[job])

    def statement(self, identity: Identity, node: str, epoch: KeyEpoch, job: str, contribution: bytes) -> SignedHeads:
        """What this enclave says beside its contribution to `job`, the same whenever it is asked.

        Args:
            contribution: the serialized ContributionBody.
        """
        self._update()
        counter = self._own[job]
        first = int(self._journal.records[counter - 1].get("since", 0))
        counters = sorted(own for own in self._own.values() if first <= own <= counter)
        body = HeadsBody(
            job=job,
            node=node,
            key_epoch=epoch.epoch,
            since=first,
            contribution_digest=digests.digest(digests.CONTRIBUTION, contribution),
            heads=[JournalHead(counter=own, digest=self._digest(own)) for own in counters],
        ).SerializeToString(deterministic=True)
        return SignedHeads(body=body, signature=identity.sign(digests.HEADS, body))

    def check_own(self, said: SignedHeads, identity: Identity, epoch: KeyEpoch) -> None:
        """Raise Problem where this enclave once signed heads that its journal does not have.

        What it did not sign, or in another epoch, says nothing.
        """
        if not digests.is_signed(identity.public_signing_key, digests.HEADS, said.body, said.signature):
            return
        body = HeadsBody.FromString(said.body)
        if body.key_epoch == epoch.epoch and any(self._digest(head.counter) != head.digest for head in body.heads):
            raise _changed(
                "This node was restored from an earlier copy, or a copy of it has run: it once signed record "
                f"{body.heads[-1].counter} of its journal, which has {len(self._journal.records)} records"
            )

    def check_peers(self, node: str, epoch: KeyEpoch, job: str, contributions: Sequence[Contribution]) -> str:
        """What to write of the peers' heads at `job`; raises Problem that names a peer that forgot something.

        Args:
            node: this enclave's own.
            contributions: one from each holder, whose signatures hold.
        """
        self._update()
        said = [
            (holder.node, _heads(contribution, holder, epoch, job))
            for contribution, holder in zip(contributions, epoch.holders, strict=True)
            if holder.node != node
        ]
        for peer, body in said:
            self._check_peer(peer, body, self._at_charge.get(job, {}).get(peer, 0))
        return " ".join(f"{peer}:{body.heads[-1].counter}:{body.heads[-1].digest.hex()}" for peer, body in said)

    def _check_peer(self, peer: str, body: HeadsBody, highest: int) -> None:
        known, order = self._known[peer], self._order[peer]
        last = body.heads[-1].counter
        if highest > last:
            raise _changed(
                f"{peer} was restored from an earlier copy, or a copy of it runs: its journal is at record {last}, and "
                f"this enclave has seen record {highest}"
            )
        # From the highest of those below the statement on, where there is one: the statement has to reach back to it.
        begin = max(0, min(bisect_left(order, body.since), bisect_right(order, last) - 1))
        stated = {head.counter: head.digest for head in body.heads}
        for counter in order[begin : bisect_right(order, last)]:
            if counter < body.since:
                raise _changed(
                    f"This node or {peer} was restored from an earlier copy: all were to have seen record {body.since} "
                    f"of {peer}'s journal, and this enclave has seen record {counter} last"
                )
            if stated.get(counter) != known[counter]:
                raise _changed(
                    f"{peer} was restored from an earlier copy, or a copy of it runs: its journal does not have record "
                    f"{counter} as this enclave has seen it"
                )

    def _digest(self, counter: int) -> bytes:
        """Of the journal's first `counter` records; empty where there are fewer."""
        macs = self._journal.macs
        return macs[counter - 1][:DIGEST_BYTES] if 0 < counter <= len(macs) else b""

    def _update(self) -> None:
        """Read what was appended since."""
        for record in self._journal.records[self._read :]:
            self._read += 1
            self._take(record)

    def _take(self, record: Record) -> None:
        match record["kind"]:
            case "key_epoch":
                self._since = self._acknowledged = 0
                for known in (self._own, self._known, self._order, self._at_charge):
                    known.clear()
            case "charge":
                # A peer that was looked at, and whose total was stopped before it was bound, has said nothing yet.
                self._at_charge[str(record["job"])] = {peer: order[-1] for peer, order in self._order.items() if order}
            case "contribution":
                self._own[str(record["job"])] = self._read
                self._since = max(self._since, int(record.get("since", 0)))
            case "open":
                for seen in str(record.get("heads", "")).split():
                    peer, counter, digest = seen.split(":")
                    self._known[peer][int(counter)] = bytes.fromhex(digest)
                    insort(self._order[peer], int(counter))


def _heads(contribution: Contribution, holder: KeyHolder, epoch: KeyEpoch, job: str) -> HeadsBody:
    said = contribution.heads
    body = read_body(HeadsBody, said.body)
    digest = digests.digest(digests.CONTRIBUTION, contribution.signed.body)
    expected = (holder.node, job, epoch.epoch, digest)
    if (body.node, body.job, body.key_epoch, body.contribution_digest) != expected or not digests.is_signed(
        holder.signing_key, digests.HEADS, said.body, said.signature
    ):
        raise _bad(holder.node, "comes without its enclave's word on where its journal stood")
    if not body.heads or any(after.counter <= before.counter for before, after in pairwise(body.heads)):
        raise _bad(holder.node, "comes with states of its journal that are not in order")
    return body


def _bad(node: str, reason: str) -> Problem:
    return Problem(Kind.REFUSED, "bad_contributions", f"The contribution of {node} {reason}.")


def _changed(said: str) -> Problem:
    return Problem(Kind.REFUSED, CHANGED, f"{said}. It may have forgotten what was charged.", hint=HINT)
