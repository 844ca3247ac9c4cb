"""A zone, as one of its callers sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from yingbi import audit, profile, stops
from yingbi.agreements import Agreement, document_of, signing
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.stop_pb2 import StopPreview
from yingbi.attest import Attestation, attest
from yingbi.batch import Batch
from yingbi.datasets import Dataset
from yingbi.deployments import Deployable, Deployment, deploy
from yingbi.jobs import Job
from yingbi.operators import Operators
from yingbi.people import People
from yingbi.profile import Profile
from yingbi.query import Query
from yingbi.transport import Gateway

if TYPE_CHECKING:
    from yingbi.standing import Standing


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    ca: str | Path | None = None,
    folder: str | Path | None = None,
    role: str = "developer",
) -> Zone:
    """A connection to a zone.

    What is not given comes from the profiles in `folder` (a zone's folder), else from that of $YINGBI_ZONE,
    else from the current profile.

    Args:
        address: "host:port".
        token: who is asking.
        ca: a PEM file with the zone's CA.
        role: whose profile to use: "developer", "operator" and so on, or who joined here, by name.
    """
    return Zone(profile.locate(address, token, ca, folder=folder, role=role))


class Zone:
    """A zone, seen by one of its callers. Use as a context manager, or `close` it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._gateway = Gateway(profile)

    def __enter__(self) -> Zone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Zone({self._gateway.address!r})"

    def close(self) -> None:
        self._gateway.close()

    @property
    def people(self) -> People:
        """Who is filed for the zone."""
        return People(self._gateway)

    @property
    def operators(self) -> Operators:
        """Who may operate the zone."""
        return Operators(self._gateway)

    def datasets(self) -> list[Dataset]:
        return [Dataset(message, self._gateway) for message in self._gateway.list_datasets()]

    def dataset(self, name: str) -> Dataset:
        return Dataset(self._gateway.get_dataset(name), self._gateway)

    def batch(self, queries: Iterable[Query]) -> Batch:
        """Questions to one dataset that are planned together and asked at one price; nothing is asked yet."""
        return Batch(tuple(queries), self._gateway)

    def agreements(self, dataset: str = "") -> list[Agreement]:
        """Those of the caller's organisation, about one dataset or all; an operator sees everybody's."""
        return [Agreement(message) for message in self._gateway.list_agreements(dataset)]

    def agreement(self, name: str) -> Agreement:
        return Agreement(self._gateway.get_agreement(name))

    def add_agreement(self, file: str | Path) -> Agreement:
        """Register the agreement that a YAML or JSON file describes, as an operator."""
        path = Path(file)
        return Agreement(self._gateway.register_agreement(path.name, document_of(path)))

    def audit_rows(self, after: int = 0) -> Iterator[AuditRow]:
        """What was done in the zone, by whom, to what, as an auditor: rows after the one with number `after`."""
        return audit.rows(self._gateway, after)

    def verify_audit(self, remembered: audit.Head = audit.EMPTY) -> audit.Head:
        """Check that no row of the record was changed; see `yingbi.audit.verify`."""
        return audit.verify(self._gateway, remembered)

    def draft_agreement(self, file: str | Path) -> Agreement:
        """Draft the agreement that a YAML or JSON file describes, as a signatory of the organisation that would ask."""
        path = Path(file)
        return Agreement(self._gateway.draft_agreement(path.name, document_of(path)))

    def move_agreement(self, name: str, step: str, reason: str = "") -> Agreement:
        """Take the next step of an agreement's life: "apply", "assess", "consent", "suspend" and so on.

        To refuse, withdraw, suspend and terminate take a reason. To sign is `sign_agreement`. What suspends, resumes or
        terminates is signed for the enclaves too; `agreement_stops` shows what they signed of it.
        """
        asked = agreement_pb2.AgreementStep(agreement=name, action=step, reason=reason)
        stops.sign_step(self._gateway, asked)
        return Agreement(self._gateway.move_agreement(asked))

    def sign_agreement(self, name: str) -> Agreement:
        """Sign an agreement's very terms with the profile's key, for the provider or for who asks.

        Raises:
            Problem: BAD_EVIDENCE "other_terms", where the gateway shows other terms than it would have signed; others
                as of any step.
        """
        me = self._gateway.who_am_i().person
        certificate = me.certificate if me.HasField("certificate") else None
        step = signing(self._gateway.get_agreement(name), self.profile.token, certificate)
        return Agreement(self._gateway.move_agreement(step))

    def preview_stop(self, scope: stops.Scope, subject: str) -> StopPreview:
        """What `stop` would hit now; nothing is stopped."""
        return stops.preview(self._gateway, scope, subject)

    def stop(
        self, scope: stops.Scope, subject: str, reason: str = "", *, organisation_key: bytes = b""
    ) -> stops.Stopped:
        """Stop a job, all under an agreement, on a dataset or of an organisation; see `yingbi.stops.stop`."""
        return stops.stop(self._gateway, scope, subject, reason, organisation_key=organisation_key)

    def agreement_stops(self, name: str) -> list[stops.Stopped]:
        """Suspensions and the end of an agreement, newest first, with what each node signed."""
        return stops.of_agreement(self._gateway, name)

    def lift(self, dataset: str, reason: str = "") -> list[stops.Stopped]:
        """Let a dataset be used again that the caller's organisation cut off."""
        return stops.lift(self._gateway, dataset, reason)

    def stops(self, subject: str = "") -> list[stops.Stopped]:
        """Stops, newest first, with what each node signed."""
        return stops.list_all(self._gateway, subject)

    def deploy(self, model: Deployable, name: str, **terms: Any) -> Deployment:
        """Keep a model in the zone, for others to use and not to see; see `yingbi.deployments.deploy`."""
        return deploy(self._gateway, model, name, **terms)

    def deployments(self) -> list[Deployment]:
        """Those that the caller's organisation deployed or may use; an operator sees all."""
        return [Deployment(message, self._gateway) for message in self._gateway.list_deployments().deployments]

    def deployment(self, name: str) -> Deployment:
        return Deployment(self._gateway.get_deployment(name), self._gateway)

    def attest(
        self,
        node: str = "",
        *,
        allow_simulation: bool | None = None,
        measurement: str = "",
        suites: Collection[str] = (),
    ) -> Attestation:
        """Ask the enclaves that hold the zone's key, or one of them, for evidence over a fresh nonce, and appraise it.

        Args:
            allow_simulation: take simulated enclaves, with a warning; by default as the profile says.
            measurement: the reference value in hexadecimal; by default the profile's.
            suites: names of the cipher suites to accept; by default the profile's, which are those of today.

        Raises:
            Problem: BAD_EVIDENCE with a code that says what is wrong with which enclave.
        """
        trust = self.profile.trust
        allowed = trust.allow_simulation if allow_simulation is None else allow_simulation
        trust = replace(trust, allow_simulation=allowed, measurement=measurement or trust.measurement)
        if suites:
            trust = replace(trust, suites=frozenset(suites))
        return attest(self._gateway, trust, node)

    def jobs(self) -> list[Job]:
        """The caller's jobs; an operator sees everybody's."""
        return [Job(message, self._gateway) for message in self._gateway.list_jobs()]

    def standing_approvals(self, *, over: bool = False) -> list[Standing]:
        """Standing approvals that you may see, the newest first; `over`: those too that are no longer in force."""
        from yingbi.standing import standing_approvals

        return standing_approvals(self._gateway, over=over)

    def standing_approval(self, name: str) -> Standing:
        """The one whose id begins with `name`; raises Problem unless there is exactly one."""
        found = [each for each in self.standing_approvals(over=True) if name and each.id.startswith(name)]
        if len(found) != 1:
            message = f"There are {len(found)} standing approvals whose id begins with {name!r}."
            raise Problem(Kind.UNKNOWN, "unknown_approval", message, hint="`yingbi approvals list` lists them")
        return found[0]

    def job(self, job: str) -> Job:
        return Job(self._gateway.get_job(job), self._gateway)
