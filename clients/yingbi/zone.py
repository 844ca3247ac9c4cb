"""Zones and their datasets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from yingbi import audit, profile, stops
from yingbi.agreements import Agreement, document_of, signing
from yingbi.answer import to_json, to_python
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2, dataset_pb2, plan_pb2
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.stop_pb2 import StopPreview
from yingbi.attest import Attestation, attest
from yingbi.batch import Batch
from yingbi.budget import Budget
from yingbi.catalogue import entry_json
from yingbi.consents import Ask, Value
from yingbi.deployments import Deployable, Deployment, deploy
from yingbi.evaluation import Evaluation, ModelQuality, evaluate_query, read_model
from yingbi.jobs import Answer, Job, Progress
from yingbi.learning import Model, ModelSpec, Training
from yingbi.lookups import Rows, files_of, look_up_tables
from yingbi.mock import DEFAULT_ROWS, mock_tables
from yingbi.operators import Operators
from yingbi.people import People
from yingbi.profile import Profile
from yingbi.programs import Outputs, Program, read_outputs, read_program, read_tables
from yingbi.query import Bounds, Query
from yingbi.round_learning import ModelInRounds, RoundsModel, TrainingInRounds
from yingbi.synthesis import Synthesis, check_wanted, text_of
from yingbi.synthetic_rows import SyntheticRows
from yingbi.transport import Gateway
from yingbi.verification import Uses, Verification, ask_for, offer_json, uses_of, verify

if TYPE_CHECKING:
    import pandas as pd

    from yingbi.search import Search, SearchResult
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


@dataclass(frozen=True)
class Dataset:
    """A dataset as its providers declare it. Everything here is public."""

    message: dataset_pb2.Dataset = field(repr=False)
    gateway: Gateway = field(repr=False, compare=False)

    def __repr__(self) -> str:
        tables = ", ".join(table.name for table in self.declaration.tables)
        return f"Dataset({self.name!r}, tables: {tables}; {self.budget})"

    @property
    def name(self) -> str:
        return self.declaration.dataset

    @property
    def declaration(self) -> dataset_pb2.DatasetDeclaration:
        return self.message.declaration

    @property
    def packages(self) -> tuple[str, ...]:
        """What programs can import, with versions, beside Python's own library; empty where none can run."""
        return tuple(self.message.programs.packages)

    @property
    def version(self) -> str:
        """Hexadecimal: changes with every change of data or declaration."""
        return self.message.version.hex()

    @property
    def needs_adding_again(self) -> bool:
        """A node joined or left since: nothing can be asked before an operator adds the dataset again."""
        return self.message.needs_adding_again

    @property
    def budget(self) -> Budget:
        """As it was when the dataset was fetched."""
        return Budget.of(self.message.budget)

    def sql(
        self,
        text: str,
        bounds: Bounds = "declared",
        *,
        lookups: Mapping[str, Rows] | None = None,
        agreement: str | None = None,
        purpose: str = "",
    ) -> Query:
        """A question; nothing is asked yet.

        Args:
            bounds: "auto" finds the clipping bound privately, in a first stage, for a twentieth of the price.
            lookups: public tables by the names that the SQL joins them by: a frame, a list of dictionaries, or the
                path of a CSV file. They are sent in the clear, and what is used of them is in the receipt.
            agreement: the id of the agreement to ask under. Where the dataset requires one, your organisation's only
                one need not be named.
            purpose: what the answer is for, to be signed with the request: refused where it is not the agreement's,
                word for word. Without it the agreement's is meant.

        Raises:
            Problem: a look-up is no table of values.
        """
        given = lookups or {}
        tables, files = look_up_tables(given), files_of(given)
        return Query(self.name, text, self.gateway, bounds, tables, files, agreement or "", purpose)

    def program(
        self,
        program: str | Path | bytes,
        outputs: Outputs,
        *,
        tables: Iterable[str] | Mapping[str, Sequence[str]] | None = None,
        blocks: int | None = None,
        seconds: float | None = None,
        agreement: str | None = None,
        publish_source: bool = False,
    ) -> Program:
        """A program to run on blocks of units; nothing is asked yet.

        Args:
            program: the path of a Python file, or its bytes. It defines `run(tables)`: from a block's tables, frames by
                name in which the privacy unit is a number, to one number for each output.
            outputs: what it returns, in order: "mean_age: float[18,100]" or, for the median over blocks, "age: median
                float[18,100]"; several of them, or bounds by name.
            tables: which tables it sees, or which columns of which; by default everything.
            blocks: at each provider. More blocks make less noise, of fewer units each.
            seconds: for each block.
            publish_source: show the code to operators, who may have to approve it; by default only enclaves read it.

        Raises:
            Problem: the program is no Python, or an output is none.
        """
        return Program(
            self.name,
            "",
            self.gateway,
            agreement=agreement or "",
            code=read_program(program),
            outputs=read_outputs(outputs),
            tables=read_tables(tables),
            blocks=blocks,
            seconds=seconds,
            publish_source=publish_source,
            declaration=self.declaration,
            environment=self.message.programs if self.message.HasField("programs") else None,
        )

    def run(
        self,
        program: str | Path | bytes,
        outputs: Outputs,
        epsilon: float,
        delta: float | None = None,
        *,
        tables: Iterable[str] | Mapping[str, Sequence[str]] | None = None,
        blocks: int | None = None,
        seconds: float | None = None,
        agreement: str | None = None,
        publish_source: bool = False,
        progress: Progress | bool | None = None,
    ) -> Answer:
        """Run a program and wait for the means, or medians, of its outputs: `program(...)`, then its `run`."""
        asked = self.program(
            program,
            outputs,
            tables=tables,
            blocks=blocks,
            seconds=seconds,
            agreement=agreement,
            publish_source=publish_source,
        )
        return asked.run(epsilon, delta, progress=progress)

    @overload
    def training(self, model: ModelSpec, bounds: Bounds = "declared", *, agreement: str | None = None) -> Training: ...

    @overload
    def training(
        self, model: ModelInRounds, bounds: Bounds = "declared", *, agreement: str | None = None
    ) -> TrainingInRounds: ...

    def training(
        self, model: ModelSpec | ModelInRounds, bounds: Bounds = "declared", *, agreement: str | None = None
    ) -> Training | TrainingInRounds:
        """A model to train; nothing is asked yet. `preview` says what it costs, `mock` tries it on made-up rows.

        Args:
            bounds: "auto" measures first, for a twentieth of the price, how far values are from the ends of their
                ranges, and clips persons whose are further out than most: less noise. For rows of which a person has
                one.

        Raises:
            Problem: MALFORMED "formula", for what is no model.
        """
        if isinstance(model, ModelInRounds):
            return TrainingInRounds(
                self.name, "", self.gateway, bounds, agreement=agreement or "", spec=model, declaration=self.declaration
            )
        if not isinstance(model, ModelSpec):
            raise Problem(
                Kind.MALFORMED,
                "formula",
                f"{model!r} is no model to train.",
                field="model",
                hint='pass one: yingbi.LinearRegression("value ~ age + male")',
            )
        named = agreement or ""
        return Training(self.name, "", self.gateway, bounds, agreement=named, spec=model, declaration=self.declaration)

    @overload
    def train(
        self,
        model: ModelSpec,
        epsilon: float,
        delta: float | None = None,
        *,
        bounds: Bounds = "declared",
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> Model: ...

    @overload
    def train(
        self,
        model: ModelInRounds,
        epsilon: float,
        delta: float | None = None,
        *,
        bounds: Bounds = "declared",
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> RoundsModel: ...

    def train(
        self,
        model: ModelSpec | ModelInRounds,
        epsilon: float,
        delta: float | None = None,
        *,
        bounds: Bounds = "declared",
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> Model | RoundsModel:
        """Train a model and wait for it: `training(...)`, then its `run`."""
        asked = self.training(model, bounds, agreement=agreement)
        return asked.run(epsilon, delta, request_id=request_id, progress=progress)

    def searching(self, models: Sequence[ModelInRounds], *, agreement: str | None = None) -> Search:
        """A search among models in rounds; nothing is asked yet. See `yingbi.search`.

        Args:
            models: of the same response and rows; each is scored, whether or not it says so.

        Raises:
            Problem: MALFORMED "candidates", where they cannot be compared.
        """
        from yingbi.search import Search

        wanted = [replace(each, score=True) if isinstance(each, ModelInRounds) else each for each in models]
        found = [self.training(each, agreement=agreement) for each in wanted]
        if not all(isinstance(each, TrainingInRounds) for each in found):
            message = "A search is among models that are trained in rounds."
            raise Problem(
                Kind.MALFORMED,
                "candidates",
                message,
                field="candidates",
                hint="LogisticRegression, PoissonRegression, NeuralNetwork and ExplainableBoosting are",
            )
        return Search.of(found)

    def search(
        self,
        models: Sequence[ModelInRounds],
        epsilon: float,
        delta: float | None = None,
        *,
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> SearchResult:
        """Train and score all models for one price: `searching(...)`, then its `run`."""
        found = self.searching(models, agreement=agreement)
        return found.run(epsilon, delta, request_id=request_id, progress=progress)

    def verify(self, subject: str | int, claims: Mapping[str, Value], purpose: str, consent: str) -> Verification:
        """Whether what is claimed about one consenting subject is so: match or no match, or one of the fixed bands.

        Args:
            subject: the privacy unit's identifier at the provider whose enclave the consent names.
            claims: values by the names of fields that can be verified; all are to be so.
            purpose: one of the dataset's, as the subject consented to it.
            consent: the token that an issuer signed for exactly this; it is used up.

        Raises:
            Problem: REFUSED with a code of `yingbi.api.verification.REFUSALS`; others as of any call.
        """
        return verify(self.gateway, self.message, subject, claims, purpose, consent)

    def consent_request(self, node: str) -> Ask:
        """What an issuer has to know to sign a consent for you to ask this provider's enclave."""
        return ask_for(self.gateway, self.message, node)

    def verification_use(self) -> Uses:
        """How often this was done, and what is owed for it."""
        return uses_of(self.gateway, self.message)

    def synthesis(
        self,
        columns: str | Sequence[str],
        *,
        source: str = "",
        where: str = "",
        bins: int | None = None,
        agreement: str | None = None,
    ) -> Synthesis:
        """Columns to make rows up of that are like the dataset's; nothing is asked yet. `preview` says what it costs.

        Args:
            columns: names or expressions, as SELECT has them: ["age", "sex", "FLOOR(bmi) AS bmi"].
            source: which rows, as FROM has it; by default the one table that has all columns.
            where: which of them, as WHERE has it.
            bins: into how many ranges a number is cut, 2 to 31; by default chosen from the price and `max_units`.
        """
        return Synthesis(
            self.name,
            "",
            self.gateway,
            agreement=agreement or "",
            columns=text_of(columns),
            source=source,
            where=where,
            bins=bins,
        )

    def synthesize(
        self,
        columns: str | Sequence[str],
        epsilon: float,
        delta: float | None = None,
        *,
        rows: int | None = None,
        seed: int | None = None,
        recipient: str = "",
        source: str = "",
        where: str = "",
        bins: int | None = None,
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> SyntheticRows:
        """Made-up rows that are like the dataset's: `synthesis(...)`, then its `run` and the `rows` of what comes back.

        Raises:
            Problem: UNAVAILABLE "mbi_missing", before anything is spent.
        """
        check_wanted(rows, seed, recipient)
        asked = self.synthesis(columns, source=source, where=where, bins=bins, agreement=agreement)
        measured = asked.run(epsilon, delta, request_id=request_id, progress=progress)
        return measured.rows(rows, seed=seed, recipient=recipient)

    def evaluation(self, model: str | Path | bytes, *, agreement: str | None = None, **asked: Any) -> Evaluation:
        """A model of your own to evaluate; nothing is asked yet. `preview` says what it costs, `mock` tries it here.

        Args:
            model: the path of an ONNX file, or its bytes. It is checked here: what it says of a row may depend on that
                row alone.
            asked: as for `evaluate`.

        Raises:
            Problem: REFUSED "model", with the node and why.
        """
        file = read_model(model)
        query = evaluate_query(file, **asked)
        return Evaluation(
            self.name, "", self.gateway, agreement=agreement or "", file=file, asked=query, declaration=self.declaration
        )

    def evaluate(
        self,
        model: str | Path | bytes,
        *,
        inputs: str | Sequence[str],
        response: str,
        task: str,
        epsilon: float,
        delta: float | None = None,
        by: str | Sequence[str] = (),
        agreement: str | None = None,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
        **asked: Any,
    ) -> ModelQuality:
        """Evaluate a model of your own and wait for how good it is.

        Args:
            model: the path of an ONNX file, or its bytes.
            inputs: what it is given, in its order: columns, or expressions in SQL.
            response: the truth: for "binary" a condition, as "status = 'dead'", or what is declared to be 0 or 1.
            task: "binary", "multiclass" or "regression".
            by: groups that the same is told of: columns with declared values, or conditions.
            asked: `rows` and `where`, as FROM and WHERE have them; `output`, which one is read, where several fit;
                `classes`, the response's values in the model's order (by default the declared ones, ascending);
                `scores`, between which numbers they lie (0 and 1); `largest_error` that is told apart; `bins`;
                `keep_nulls`, to give the model NaN for NULL in place of leaving rows out.
        """
        asked |= {"inputs": inputs, "response": response, "task": task, "by": by}
        question = self.evaluation(model, agreement=agreement, **asked)
        return question.run(epsilon, delta, request_id=request_id, progress=progress)

    def mock(self, rows: int = DEFAULT_ROWS, seed: int | None = None) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Made-up rows of the same schema, for trying things out: from the declaration alone, never from data.

        Args:
            rows: how many each table has, unless `max_units` admits fewer.
            seed: the same seed makes the same rows.

        Returns:
            The dataset's one table, or a frame by table name where it has several. A unit has the same id in all.
        """
        frames = {table.name: table.to_pandas() for table in mock_tables(self.declaration, rows, seed)}
        return frames.popitem()[1] if len(frames) == 1 else frames

    def to_json(self) -> dict[str, object]:
        declared = self.declaration
        return {
            "dataset": self.name,
            "zone": declared.zone,
            "title": dict(declared.title),
            "grade": declared.grade,
            "source": declared.source,
            "privacy_unit": declared.privacy_unit,
            "unit_namespace": declared.unit_namespace or self.name,
            "max_units": declared.max_units,
            **entry_json(declared),
            "units_disjoint": declared.units_disjoint,
            "agreements_required": declared.agreements_required,
            "curious_providers": declared.curious_providers,
            "version": self.version,
            **({"needs_adding_again": True} if self.needs_adding_again else {}),
            **({"program_packages": list(self.packages)} if self.packages else {}),
            "budget": {"epsilon": declared.budget_epsilon, **self.budget.to_json()},
            **({"verification": offer_json(declared.verification)} if declared.HasField("verification") else {}),
            "tables": [
                {
                    "name": table.name,
                    "max_rows_per_unit": table.max_rows_per_unit,
                    "columns": [_column_json(column) for column in table.columns],
                }
                for table in declared.tables
            ],
        }


def type_name(column: dataset_pb2.ColumnDeclaration) -> str:
    """The type's name in a declaration: int64, string, ..."""
    return plan_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()


def _column_json(column: dataset_pb2.ColumnDeclaration) -> dict[str, object]:
    parts: dict[str, object] = {"name": column.name, "type": type_name(column)}
    if column.role == dataset_pb2.ColumnDeclaration.ROLE_UNIT:
        parts["role"] = "unit"
    if column.values:
        parts["values"] = [to_json(to_python(value)) for value in column.values]
    if column.HasField("lower"):
        parts["lower"] = column.lower
    if column.HasField("upper"):
        parts["upper"] = column.upper
    if column.required:
        parts["required"] = True
    if column.constant_per_unit:
        parts["constant_per_unit"] = True
    if column.HasField("max_length"):
        parts["max_length"] = column.max_length
    if column.forbidden:
        parts["forbidden"] = True
    return parts
