"""What people see: the SDK's objects as rich renderables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from yingbi.agreements import Agreement, Event
from yingbi.answer import Column, to_json, to_python
from yingbi.api.notices import CLAUSES
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.batch import BatchPreview
from yingbi.catalogue import entry_lines
from yingbi.datasets import Dataset, type_name
from yingbi.display import MISSING, answer_rows, average_sentences, cell_text, forecast_rows, shown_source
from yingbi.evaluation import summary
from yingbi.jobs import Answer, Job
from yingbi.models.in_rounds import FittedInRounds
from yingbi.models.kinds import Fitted
from yingbi.models.shapes import shape_of
from yingbi.operators import Application, Notice
from yingbi.quality import Quality
from yingbi.query import Preview
from yingbi.receipt import Check
from yingbi.search import SearchPreview, SearchResult
from yingbi.standing import constants

_STATE_STYLES = {"succeeded": "green", "failed": "red", "refused": "red", "cancelled": "dim"}


def grid(header: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """A table of texts; the header says which columns hold numbers."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, numeric in header:
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def answer(answer: Answer) -> RenderableType:
    return Group(
        grid(_header(answer.table.columns), answer_rows(answer.table)),
        *_dim(["± is one standard error; 95 % intervals are in the JSON", *answer.words, *answer.notes]),
        Text(f"{answer.price} · {answer.budget}"),
        *_dim([_jobs_of(answer)]),
    )


def made_up_model(model: Fitted | FittedInRounds) -> RenderableType:
    """A model that no job trained: of made-up rows."""
    keys, numbers, lines = shape_of(model)
    rows = [
        [
            *map(cell_text, line.keys),
            *("" if each is None else cell_text(each.value, each.std_error) for each in line.numbers),
        ]
        for line in lines
    ]
    return Group(
        grid([*((name, False) for name in keys), *((name, True) for name in numbers)], rows),
        *_dim(["of made-up rows, with noise as large as the real one's; ± is one standard error"]),
    )


def mock_quality(quality: Quality) -> RenderableType:
    """An evaluation that no job made: of made-up rows."""
    return Group(
        grid([("group", False), ("measure", False), ("value", True)], summary(quality)),
        *_dim(["of made-up rows, with noise as large as the real one's; ± is one standard error"]),
    )


def preview(preview: Preview) -> RenderableType:
    plan = preview.plan
    approval = ["its provider will have to approve it"] if preview.needs_approval else []
    return Group(
        grid(_header(preview.forecast.columns), forecast_rows(preview.forecast)),
        *_dim([*average_sentences(preview.forecast), *preview.notes, *approval]),
        Text(f"would cost: ε {plan.epsilon:g}, δ {plan.delta:g} · {preview.budget}"),
        *_excess(preview),
    )


def search(found: SearchResult) -> RenderableType:
    """All candidates with their scores, and the one that is best."""
    return Group(_candidates(found), *_dim([found.words[-1]]), answer(found.best))


def _candidates(found: SearchResult) -> Table:
    names = [each.name.replace("_", " ") for each in found.scores[0].measures]
    rows = [
        [
            *(("*" if place == found.place else "", name)),
            *(cell_text(each.value, each.error) for each in score.measures),
        ]
        for place, (name, score) in enumerate(zip(found.names, found.scores, strict=True))
    ]
    header = [("", False), ("candidate", False), *((name, True) for name in names)]
    return grid(header, rows, "on the rows they were trained on; ± is of noise alone; * has the least loss")


def search_preview(foreseen: SearchPreview) -> RenderableType:
    """What a search would cost, and how exact its first candidate would be."""
    rows = [
        [name, f"{each.rounds}", f"{each.plan.epsilon:.3g}"]
        for name, each in zip(foreseen.names, foreseen.candidates, strict=True)
    ]
    first = foreseen.candidates[0]
    return Group(
        grid([("candidate", False), ("rounds", True), ("ε", True)], rows),
        *_dim([*foreseen.notes, f"of {foreseen.names[0]}:", *average_sentences(first.forecast), *first.notes]),
        Text(f"would cost: ε {foreseen.epsilon:g}, δ {foreseen.delta:g} · {first.budget}"),
        *([Text(foreseen.excess, style="red")] if foreseen.excess else []),
    )


def batch(answers: Sequence[Answer], questions: Sequence[str]) -> RenderableType:
    parts: list[RenderableType] = []
    for number, (sql, answer) in enumerate(zip(questions, answers, strict=True), 1):
        notes = _dim([*answer.notes, f"job {answer.job.id}"])
        table = grid(_header(answer.table.columns), answer_rows(answer.table))
        parts += [_question(number, sql), table, *notes, Text()]
    body = answers[0].receipt.dossier.body
    paid = not all(answer.replayed for answer in answers)
    price = f"cost of all: ε {body.epsilon:g}, δ {body.delta:g}" if paid else "replayed: no cost"
    return Group(
        *parts,
        *_dim(["± is one standard error; 95 % intervals are in the JSON"]),
        Text(f"{price} · {answers[-1].budget}"),
    )


def batch_preview(preview: BatchPreview) -> RenderableType:
    parts: list[RenderableType] = []
    questions = zip(preview.queries, preview.forecasts, preview.notes, strict=True)
    for number, (query, forecast, notes) in enumerate(questions, 1):
        parts += [_question(number, query.sql), grid(_header(forecast.columns), forecast_rows(forecast))]
        parts += [*_dim([*average_sentences(forecast), *notes]), Text()]
    plan = preview.plans[0]
    count = f"{len(preview.plans)} plan" + ("s" if len(preview.plans) > 1 else "")
    approval = [f"its provider will have to approve {count}"] if preview.needs_approval else []
    return Group(
        *parts,
        *_dim(approval),
        Text(f"all would cost: ε {plan.epsilon:g}, δ {plan.delta:g}, in {count} · {preview.budget}"),
        *_excess(preview),
    )


def jobs(jobs: Sequence[Job]) -> RenderableType:
    if not jobs:
        return Text("no jobs yet", style="dim")
    table = grid([("job", False), ("created", False), ("dataset", False), ("state", False), ("sql", False)], [])
    # To be copied into the next command: whole, however narrow the terminal.
    table.columns[0].no_wrap = True
    for job in jobs:
        created = job.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if job.created else ""
        state = Text(job.state.replace("_", " "), style=_STATE_STYLES.get(job.state, "yellow"))
        sql = " ".join(job.message.sql.split())
        table.add_row(job.id, created, job.message.dataset, state, escape(sql))
    return table


def asked(job: Job) -> RenderableType:
    """What is to be approved: the question, what follows from it, and its program where that is shown."""
    plan = Plan.FromString(job.message.plan)
    said = [f"job {job.id}: {job.state}", f"asked by {job.message.developer} of {job.message.dataset}", job.message.sql]
    price = f"would cost: ε {plan.epsilon:g}, δ {plan.delta:g}"
    parts = [*map(Text, map(shown_source, said)), *_dim(job.message.notes), Text(price)]
    if plan.fit.HasField("round"):
        parts.append(Text("`yingbi approve JOB --rounds` approves the rounds that follow too", style="dim"))
    if listed := constants(job):
        parts.append(Text(f"constants in its filters: {', '.join(f'{at}: {each}' for at, each in enumerate(listed))}"))
    if plan.HasField("program"):
        parts += [Text(line) for line in program_lines(job, plan)]
    return Group(*parts)


def program_lines(job: Job, plan: Plan) -> list[str]:
    """The program of a job, or how to know it from its file."""
    sha256 = plan.program.sha256.hex()
    if job.source is None:
        return ["", f"Its developer does not show the program. Ask for the file; its SHA-256 is to be {sha256}."]
    return ["", f"The program, of SHA-256 {sha256}, which is what will run:", "", shown_source(job.source)]


def datasets(datasets: Sequence[Dataset]) -> RenderableType:
    if not datasets:
        return Text("no datasets yet", style="dim")
    return grid(
        [("dataset", False), ("title", False), ("grade", True), ("ε left", True)],
        [
            (
                dataset.name,
                f"{_title(dataset)} (needs adding again)" if dataset.needs_adding_again else _title(dataset),
                str(dataset.declaration.grade),
                dataset.budget.left_words(),
            )
            for dataset in datasets
        ],
    )


def dataset(dataset: Dataset) -> RenderableType:
    declared = dataset.declaration
    parts: list[RenderableType] = [
        Text(f"{dataset.name} – {_title(dataset)}", style="bold"),
        Text(f"grade {declared.grade} · one {declared.privacy_unit} is protected as a whole · {dataset.budget}"),
        *_dim([f"source: {declared.source}", f"version {dataset.version[:16]}…"]),
        *_dim(map(shown_source, entry_lines(declared))),
    ]
    if dataset.needs_adding_again:
        parts.append(Text("a node joined or left: nothing can be asked before it is added again", style="red"))
    for table in declared.tables:
        rows = []
        for column, facts in zip(table.columns, _columns(dataset, table.name), strict=True):
            rows.append((column.name, type_name(column), facts))
        parts.append(
            grid(
                [("column", False), ("type", False), ("declared", False)],
                rows,
                f"{table.name}, at most {table.max_rows_per_unit:,} rows a {declared.privacy_unit}",
            )
        )
    if declared.HasField("verification"):
        offered = declared.verification
        fields = ", ".join(f"{one.table}.{one.column}" for one in offered.fields)
        issuers = ", ".join(issuer.name for issuer in offered.issuers)
        parts.append(Text(f"with a subject's consent can be verified: {fields}"))
        parts += _dim([f"for {', '.join(offered.purposes)}; consents are signed by {issuers}; {offered.price} a use"])
    if dataset.packages:
        parts += _dim([f"programs can import {', '.join(dataset.packages[1:])}; they run on {dataset.packages[0]}"])
    return Group(*parts)


def audit_rows(rows: Sequence[AuditRow]) -> RenderableType:
    if not rows:
        return Text("nothing yet", style="dim")
    heads = ("at", "who", "of", "did", "to", "because")
    return grid(
        [("#", True), *((name, False) for name in heads)],
        [
            (
                f"{row.number:,}",
                _moment(datetime.fromtimestamp(row.at_millis / 1000, UTC)),
                row.person,
                row.organisation,
                row.action,
                row.subject,
                row.reason,
            )
            for row in rows
        ],
    )


def agreements(agreements: Sequence[Agreement]) -> RenderableType:
    if not agreements:
        return Text("no agreements yet", style="dim")
    several = len({each.organisation for each in agreements}) > 1  # a developer's are all of one
    texts = ("agreement", "dataset", *(("organisation",) if several else ()), "state", "expires")
    numbers = ("ε left", "uses left")
    return grid(
        [*((name, False) for name in texts), *((name, True) for name in numbers)],
        [
            (
                each.id,
                each.dataset,
                *((each.organisation,) if several else ()),
                each.state.value,
                _moment(each.expires),
                f"{each.budget.remaining_epsilon:.3g} of {each.budget.message.epsilon:g}",
                MISSING if each.budget.uses_left is None else f"{each.budget.uses_left:,}",
            )
            for each in agreements
        ],
    )


def agreement(agreement: Agreement) -> RenderableType:
    return Group(
        Text(f"{agreement.id} – {agreement.organisation} about {agreement.dataset}", style="bold"),
        Text(f"purpose: {agreement.purpose}"),
        Text(f"jobs: {', '.join(agreement.jobs) or 'every kind'}"),
        Text(f"{agreement.state.value}: from {_moment(agreement.starts)} until {_moment(agreement.expires)}"),
        Text(str(agreement.budget)),
        *(Text(line) for line in _clauses(agreement)),
        *([Text(f"waits for {agreement.waits_for}", style="bold")] if agreement.waits_for else []),
        *_dim(_life(agreement.events)),
    )


def _clauses(agreement: Agreement) -> list[str]:
    terms = agreement.terms
    said = {
        "scenario": terms.scenario,
        "columns": ", ".join(terms.columns),
        "uses a day": f"at most {terms.max_uses_a_day:,}" if terms.HasField("max_uses_a_day") else "",
        "parties": f"{terms.organisation} asks, {terms.provider} has the data, {terms.supervisor} supervises"
        if terms.provider
        else "",
        "responsibility": terms.responsibility,
        "supervision": terms.supervision,
        "revocation": terms.revocation,
        "supersedes": terms.supersedes,
        "signed by": ", ".join(agreement.signed_by),
    }
    return [f"{name}: {text}" for name, text in said.items() if text]


def notices(notices: Sequence[Notice]) -> RenderableType:
    if not notices:
        return Text("no notices yet", style="dim")
    header = [(name, False) for name in ("notice", "apply by", "operator", "state", "until", "waits for")]
    return grid(header, [row for each in notices for row in _applications(each)])


def _applications(notice: Notice) -> list[tuple[str, ...]]:
    terms = notice.message.notice
    first = (notice.id, f"{terms.apply_by.ToDatetime():%Y-%m-%d}")
    until = f"{terms.expires.ToDatetime():%Y-%m-%d}"
    return [(*first, each.operator, each.state, until, each.waits_for) for each in notice.applications] or [
        (*first, "", "open" if notice.message.open else "closed", until, "")
    ]


def notice(notice: Notice) -> RenderableType:
    terms = notice.message.notice
    return Group(
        Text(f"{notice.id} – {terms.title}", style="bold"),
        *(Text(f"{name}: {getattr(terms, name)}") for name in CLAUSES),
        Text(f"applications: before {_moment(terms.apply_by.ToDatetime())}, reviewed by {terms.supervisor}"),
        Text(f"term: from {_moment(terms.starts.ToDatetime())} until {_moment(terms.expires.ToDatetime())}"),
        *(_application(each) for each in notice.applications),
    )


def _application(application: Application) -> RenderableType:
    terms = application.message.agreement
    return Group(
        Text(f"{application.operator}: {application.state}", style="bold"),
        Text(f"statement: {terms.statement}"),
        *(Text(f"evidence: {each.reference}, SHA-256 {each.document_sha256.hex()}") for each in terms.evidence),
        *([Text(f"waits for {application.waits_for}", style="bold")] if application.waits_for else []),
        *_dim(_life(application.events)),
    )


def _life(events: Iterable[Event]) -> list[str]:
    return [
        f"{_moment(event.at)}  {event.action} by {event.person} of {event.organisation}"
        + (f": {event.reason}" if event.reason else "")
        for event in events
    ]


def check(check: Check) -> Text:
    return Text.assemble(("✓ ", "green"), (check.name, "bold"), f"  {check.finding}")


def _columns(dataset: Dataset, table: str) -> list[str]:
    declared = next(part for part in dataset.declaration.tables if part.name == table)
    return ["; ".join(_facts(dataset, column)) for column in declared.columns]


def _facts(dataset: Dataset, column: ColumnDeclaration) -> list[str]:
    if column.name == dataset.declaration.privacy_unit:
        return ["privacy unit"]
    marks = {
        "required": column.required,
        "constant per unit": column.constant_per_unit,
        "no request may read it": column.forbidden,
    }
    if column.values:
        facts = [str(to_json(to_python(value))) for value in column.values]
    elif column.HasField("lower") or column.HasField("upper"):
        facts = [f"{column.lower:g} to {column.upper:g}"]
    else:
        facts = []
    said = [", ".join(facts)] if facts else []
    said += [f"up to {column.max_length:,} bytes"] if column.HasField("max_length") else []
    return [*said, *(mark for mark, holds in marks.items() if holds)] or ["nothing declared"]


def _jobs_of(answer: Answer) -> str:
    """The jobs that the answer was made by: two, where its keys or bounds were selected first."""
    stages = [f"{job.id} (first stage)" for job in answer.stages]
    return f"jobs {', '.join([*stages, f'{answer.job.id} (second stage)'])}" if stages else f"job {answer.job.id}"


def _question(number: int, sql: str) -> Text:
    """In the lines it was written in: on one, a comment would hide what follows it."""
    return Text(f"Question {number}: {sql.strip()}", style="bold")


def _excess(preview: Preview | BatchPreview) -> list[Text]:
    return [Text(preview.excess, style="red")] if preview.excess else []


def _header(columns: Sequence[Column]) -> list[tuple[str, bool]]:
    return [(column.name, column.kind != "key") for column in columns]


def _title(dataset: Dataset) -> str:
    title = dataset.declaration.title
    return title.get("en") or title.get("zh") or ""


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _dim(lines: Iterable[str]) -> list[Text]:
    return [Text(line, style="dim") for line in lines]
