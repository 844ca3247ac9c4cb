"""Whether a request is inside its agreement, as an enclave judges it by itself, whatever the gateway says. Pure.

An agreement counts for this provider if it signed the very bytes of the terms, as did the developers' organisation,
whose key the terms name; then that organisation's analysts may ask, and nobody else. Each clause has a check below that
names it. Uses and budget are counted in this node's own journal: a charge notes its agreement and its time. A
supplement (`supersedes`) goes on with what its predecessor, and whoever that superseded, used here; from its first
charge on the predecessor is over.

*Time* is the host's. It never goes back behind the latest charge, so an agreement that was over here stays over; and a
charge is never further ahead than the developer's authorization of it lasts.

*Signatories' certificates* end before agreements do. They have to count when this enclave first charges a job under
the terms, by its own clock; the charge notes the terms' digest, and the same bytes are judged at its time from then on.
So nobody signs terms of an earlier date after their certificate has ended: no journal has seen them. A host that sets
its clock back wins no more than the time since the latest charge, and a release takes every node. One whose clock is
ahead refuses, and writes nothing down. Charges of before there was such a digest are no sight: they name an agreement
and not its bytes, which is what somebody would exchange.

*What is not known here.* A node that joined later has not seen earlier uses; those that were there have, and a job
takes every node. Of a supplement whose predecessor was never used here, what the predecessor superseded is not known.
Neither lets anybody exceed the dataset's budget (`budget`), which agreements divide.

Keeps: AGR-02, AGR-03, AGR-05, AGR-06, GRD-07, SEC-05, SEC-07
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence

from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementSignature, SignedAgreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Authorization
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.authority import Policy, organisation_of
from enclave_sim.bodies import read_body
from enclave_sim.budget import charged, spent_in
from enclave_sim.journal import Record
from enclave_sim.plan.columns_read import columns_outside
from enclave_sim.plan.sensitivity import is_first_stage
from enclave_sim.privacy.accounting import Charge, Filter
from enclave_sim.stops import about_charge, check_not_stopped

DAY_SECONDS = 24 * 3600
# It goes into the journal.
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def signed_terms(
    signed: SignedAgreement, policy: Policy, declaration: DatasetDeclaration, records: Iterable[Record], *, now: float
) -> Agreement | None:
    """The terms that the provider and the developers' organisation signed; raises Problem where they did not.

    Where the provider waived agreements: None if none is given and the dataset asks for none. Terms that nobody signed
    are the gateway's word there, kept as such: they come back without the organisation's key.

    Args:
        records: the journal, which knows the terms that this enclave has seen.
        now: from `clock`.
    """
    if not signed.terms:
        if policy.auto_approve and not declaration.agreements_required:
            return None
        raise _refused("agreement_needed", f"{declaration.dataset} is asked under an agreement only.")
    terms = _read(signed.terms)
    if policy.auto_approve and not (signed.HasField("provider") or signed.HasField("organisation")):
        terms.ClearField("organisation_key")
        return terms
    if terms.provider_key not in policy.providers:
        raise _refused("agreement_other_provider", f"Agreement {terms.agreement} is not with this provider.")
    if terms.organisation_key in policy.providers:
        raise _refused("agreement_one_party", f"Agreement {terms.agreement} is of a provider with itself.")
    seen = _first_seen(terms, records, now)
    _check_signature(signed.provider, signed.terms, terms.provider_key, "provider", terms, seen)
    _check_signature(signed.organisation, signed.terms, terms.organisation_key, "developers' organisation", terms, seen)
    return terms


def may_ask(terms: Agreement | None, policy: Policy) -> frozenset[bytes]:
    """The keys of the organisations whose analysts may ask."""
    return frozenset({terms.organisation_key}) if terms and terms.organisation_key else policy.developers


def check_agreement(
    terms: Agreement, declaration: DatasetDeclaration, plan: Plan, authorization: Authorization, *, now: float
) -> None:
    """Raise Problem, naming the clause, unless the request is inside the terms. What is counted: `check_uses`.

    Args:
        terms: from `signed_terms`.
        plan: one that `validation.check_plan` accepts for `declaration`.
        authorization: of the plan, by one who `may_ask`.
        now: from `clock`.
    """
    name = terms.agreement
    if authorization.agreement != name:
        raise _refused("agreement_differs", f"The developer signed for another agreement than {name}.")
    if terms.dataset != declaration.dataset:
        raise _refused("agreement_other_dataset", f"Agreement {name} is about another dataset.")
    # Who names no purpose signed for the agreement's, as for all of its clauses.
    if authorization.purpose not in ("", terms.purpose):
        raise _refused("agreement_other_purpose", f"The developer signed for another purpose than that of {name}.")
    _check_term(terms, now)
    kinds = kinds_of(plan)
    if terms.jobs and kinds.isdisjoint(terms.jobs):
        raise _refused("agreement_other_job", f"Agreement {name} does not allow this kind of job: {min(kinds)}.")
    # A first stage may be a question's: what it releases is no parameter.
    if kinds == {"train"} and terms.HasField("parameters_may_leave") and not terms.parameters_may_leave:
        raise _refused("parameters_stay", f"Under agreement {name} a model's parameters may not leave.")
    if outside := columns_outside(plan, declaration, terms.columns):
        raise _refused("agreement_other_column", f"Agreement {name} does not cover {', '.join(outside)}.")


def check_uses(terms: Agreement, records: Sequence[Record], charge: Charge, *, now: float) -> None:
    """Raise Problem unless one more use, and `charge`, are left under the terms, by the journal.

    `now`: from `clock`.
    """
    name = terms.agreement
    charges = [record for record in records if record["kind"] == "charge" and "agreement" in record]
    if any(record.get("supersedes") == name for record in charges):
        raise _refused("agreement_superseded", f"Another agreement has come in the place of {name}.")
    chain = _chain(terms, charges)
    uses = [record for record in charges if record["agreement"] in chain]
    if terms.HasField("max_uses") and len(uses) >= terms.max_uses:
        raise _refused("agreement_used_up", f"Agreement {name} allows {terms.max_uses} uses, and has had them.")
    today = sum(int(record["at"]) // DAY_SECONDS == now // DAY_SECONDS for record in uses)
    if terms.HasField("max_uses_a_day") and today >= terms.max_uses_a_day:
        raise _refused("agreement_used_up_today", f"Agreement {name} had today's {today} uses.")
    try:
        limit = Charge(*zcdp.bought(terms.budget_epsilon, terms.budget_delta))
    except zcdp.BadPrivacyParameter as error:
        raise _refused("bad_agreement", f"Agreement {name} has no budget: {error}.") from error
    charged(Filter(limit, spent_in(uses)), f"agreement {name}", charge)


def noted(terms: Agreement | None, now: float) -> Record:
    """What a charge under the terms notes for `check_uses`, `clock`, `check_in_force` and `signed_terms`."""
    record: Record = {"at": int(now)}
    if terms is not None:
        record |= {"agreement": terms.agreement, "until": terms.expires.seconds, "agreed": _digest(terms)}
        record |= {"supersedes": terms.supersedes} if terms.supersedes else {}
    return record


def check_in_force(records: Sequence[Record], charge: Record, *, now: float) -> None:
    """Raise Problem for a charged job that was stopped, or whose agreement has expired since.

    `now`: from `clock`.
    """
    check_not_stopped(records, about_charge(charge))
    if "until" in charge and now >= int(charge["until"]):
        raise _expired(str(charge.get("agreement", "")), int(charge["until"]))


def clock(records: Iterable[Record], now: float) -> float:
    """The present time, or that of the latest charge where it is later; seconds since 1970."""
    return max([now, *(float(record["at"]) for record in records if record["kind"] == "charge" and "at" in record)])


def kinds_of(plan: Plan) -> frozenset[str]:
    """What kind of job a plan is, as agreements name it; a first stage may be that of a query or of a training.

    What is released decides, not what is said to be made of it: a step of training without a model is one.
    """
    if plan.HasField("program"):
        return frozenset({"program"})
    if plan.HasField("fit") or any(each.HasField("model_vector") for each in plan.statistics):
        return frozenset({"train"})
    if plan.HasField("evaluation"):
        return frozenset({"evaluate"})
    if plan.HasField("synthesis"):
        return frozenset({"synthesize"})
    return frozenset({"query", "train"} if is_first_stage(plan) else {"query"})


def _read(data: bytes) -> Agreement:
    terms = read_body(Agreement, data)
    terms.DiscardUnknownFields()  # type: ignore[no-untyped-call, unused-ignore]
    if terms.SerializeToString(deterministic=True) != data:
        # A clause that this code does not know would be signed and not kept.
        raise _refused("bad_agreement", "The agreement has clauses that this enclave does not know.")
    if not _ID.fullmatch(terms.agreement) or (terms.supersedes and not _ID.fullmatch(terms.supersedes)):
        raise _refused("bad_agreement", "The agreement's id, or that of its predecessor, is none.")
    return terms


def _first_seen(terms: Agreement, records: Iterable[Record], now: float) -> float:
    """When this enclave first charged a job under exactly these terms, in seconds since 1970; `now` if it never did."""
    digest = _digest(terms)
    seen = (record for record in records if record["kind"] == "charge" and record.get("agreed") == digest)
    return next((float(record["at"]) for record in seen), now)


def _digest(terms: Agreement) -> str:
    # Of the bytes that were signed: `_read` takes no others. Terms that nobody signed lack the organisation's key here,
    # so that having seen them is no sight of the same ones signed.
    return digests.digest(digests.AGREEMENT, terms.SerializeToString(deterministic=True)).hex()


def _check_signature(
    signature: AgreementSignature, data: bytes, party: bytes, who: str, terms: Agreement, seen: float
) -> None:
    unsigned = _refused("agreement_not_signed", f"Agreement {terms.agreement} is not signed by the {who}.")
    if not digests.is_signed(signature.key, digests.AGREEMENT, data, signature.signature):
        raise unsigned
    try:
        organisation = organisation_of(signature.key, signature.certificate, {party}, duty="signatory", now=seen)
    except Problem as error:
        if error.code != "certificate_expired":
            raise
        raise _signatory_expired(error, who, terms) from error
    if organisation is None:
        raise unsigned


def _signatory_expired(ended: Problem, who: str, terms: Agreement) -> Problem:
    said = (
        f"This enclave sees agreement {terms.agreement} for the first time, and who signed it for the {who} can sign "
        f"no more: {ended.message}"
    )
    hint = f"sign the terms anew as a supplement (supersedes: {terms.agreement}), with certificates that count"
    return Problem(Kind.REFUSED, "signatory_expired", said, hint=hint)


def _check_term(terms: Agreement, now: float) -> None:
    if now < terms.starts.seconds:
        begins = _moment(terms.starts.seconds)
        raise _refused("agreement_not_begun", f"Agreement {terms.agreement} begins on {begins}.")
    if now >= terms.expires.seconds:
        raise _expired(terms.agreement, terms.expires.seconds)


def _chain(terms: Agreement, charges: Iterable[Record]) -> set[str]:
    """The agreement and all that it came in the place of, one after another, as far as the journal knows them."""
    before = {record["agreement"]: str(record["supersedes"]) for record in charges if "supersedes" in record}
    chain, name = {terms.agreement}, terms.supersedes
    while name and name not in chain:
        chain.add(name)
        name = before.get(name, "")
    return chain


def _expired(agreement: str, expires: int) -> Problem:
    return _refused("agreement_expired", f"Agreement {agreement} expired on {_moment(expires)}.")


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M UTC}"
    except (ValueError, OverflowError, OSError):
        return "no date that there is"


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
