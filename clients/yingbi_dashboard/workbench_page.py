"""The workbench: a developer writes SQL, sees what it costs and how exact it will be, asks, and reads the answer.

What lets the question run is the developer's signature, made in the browser over the authorization that the SDK would
sign. Questions in two stages are the SDK's: their second signature is over what the first stage found.
"""

from __future__ import annotations

import csv
import io
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yingbi.agreements import Agreement, Event, State
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import dataset_pb2, job_pb2
from yingbi.api.v1.people_pb2 import Me
from yingbi.cells import to_json, to_python
from yingbi.datasets import type_name
from yingbi.display import answer_rows, average_sentences
from yingbi.jobs import Answer, Job
from yingbi.query import Preview, Query, authorization_of
from yingbi.transport import Gateway

from yingbi_dashboard.agreements_page import STATES, STEPS
from yingbi_dashboard.charts import LABEL, ROW, WIDTH, Chart, charts_of
from yingbi_dashboard.decision_page import ORGANISATION_NAMES, STATE_NAMES
from yingbi_dashboard.forms import MAX_DOCUMENT, from_base64, read_form, to_base64
from yingbi_dashboard.mock_answer import Expected, expected
from yingbi_dashboard.serving import Serving, check_kind
from yingbi_dashboard.sign_in import is_signed_out, who_is

MOST_ROWS = 500
"""Of an answer, on the page; all of them are in the file."""
MOST_VALUES = 12
"""Of a column's declared values, in the catalogue."""
_KEY_BYTES = 32


@dataclass(frozen=True)
class Asked:
    """A question as the page posts it."""

    dataset: str
    sql: str
    epsilon: float
    agreement: str

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Asked:
        """Raises Problem for a price that is no number."""
        try:
            epsilon = float(form.get("epsilon", ""))
        except ValueError:
            epsilon = math.nan
        if not math.isfinite(epsilon):
            raise Problem(Kind.MALFORMED, "epsilon", "Epsilon must be a number, such as 0.5.", field="epsilon")
        # A form sends line ends as CR LF; positions in errors are of the text as it was written.
        sql = form.get("sql", "").replace("\r\n", "\n")
        return cls(form.get("dataset", ""), sql, epsilon, form.get("agreement", ""))

    def query(self, gateway: Gateway) -> Query:
        """As the SDK asks it."""
        return Query(self.dataset, self.sql, gateway, agreement=self.agreement)

    def message(self) -> job_pb2.Query:
        """As it is sent with its authorization: what the SDK sends."""
        return job_pb2.Query(dataset=self.dataset, sql=self.sql, epsilon=self.epsilon, agreement=self.agreement)


@dataclass(frozen=True)
class Column:
    """A column in the catalogue: its name, type, and what is declared of it."""

    name: str
    kind: str
    bounds: str
    values: str
    is_unit: bool


@dataclass(frozen=True)
class Workbench:
    """The page itself."""

    datasets: list[tuple[dataset_pb2.DatasetDeclaration, list[tuple[str, list[Column]]]]]
    # In force: id and dataset.
    agreements: list[Agreement]
    dataset: str
    sql: str
    epsilon: str
    agreement: str


@dataclass(frozen=True)
class Shown:
    """A question's price and outlook."""

    preview: Preview
    expected: Expected | None
    sentences: Sequence[str]
    # Keys of the names of organisations whose yes it would wait for.
    waits_for: list[str]

    @property
    def budget(self) -> list[str]:
        """What is left of each budget that it is against, in words."""
        return str(self.preview.budget).split("; ")


@dataclass(frozen=True)
class Outcome:
    """A job, and its answer where there is one, or why there is none."""

    job: Job
    state: str
    answer: Answer | None
    header: list[str]
    rows: list[list[str]]
    charts: list[Chart]
    checks: int
    problem: Problem | None
    # Of the job's agreement, where it is not in force: the key of its state's name, and what happened last.
    agreement_state: str
    agreement_event: Event | None

    @property
    def goes_on(self) -> bool:
        """Whether it is worth asking again."""
        return not self.job.is_final

    @property
    def waits_for(self) -> list[str]:
        """Keys of the names of organisations that have not said yes."""
        return [ORGANISATION_NAMES.get(kind, "role.other") for kind in self.job.waits_for]


def routes(console: Serving) -> list[Route]:
    """The page, what it posts, and its answers."""
    pages = _Pages(console)
    return [
        Route("/workbench", pages.empty),
        Route("/workbench/preview", pages.preview, methods=["POST"]),
        Route("/workbench/prepare", pages.prepare, methods=["POST"]),
        Route("/workbench/run", pages.run, methods=["POST"]),
        Route("/workbench/{job}", pages.with_job),
        Route("/workbench/{job}/answer", pages.answer),
        Route("/workbench/{job}/answer.csv", pages.csv),
    ]


def previewed(asked: Asked, gateway: Gateway) -> Preview:
    """What the question costs, checked as the SDK checks it; raises Problem, also for one in two stages."""
    preview = asked.query(gateway).preview(asked.epsilon)
    if preview.is_first_stage:
        raise Problem(
            Kind.REFUSED,
            "two_stages",
            "The values of a key that this question groups by are not declared: it is asked in two stages, the second"
            " of which is signed once the first is there. The SDK does that, and this page does not.",
            hint=f"{_call(asked)}; or group by what the catalogue lists values of",
        )
    return preview


def python_of(asked: Asked) -> str:
    """The same question for the SDK, as a program to be copied."""
    lines = ["from yingbi import connect", "", "with connect() as zone:", f"    answer = {_call(asked)}"]
    return "\n".join([*lines, "    print(answer)", ""])


def csv_of(answer: Answer) -> str:
    """As `Answer.save_csv` writes it."""
    header, rows = answer.to_records()
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([to_json(cell) for cell in row] for row in rows)
    return file.getvalue()


def columns_of(table: dataset_pb2.TableDeclaration) -> list[Column]:
    """What the catalogue says of a table's columns."""
    return [_column(column) for column in table.columns]


def _column(column: dataset_pb2.ColumnDeclaration) -> Column:
    low, high = (f"{getattr(column, name):g}" if column.HasField(name) else "" for name in ("lower", "upper"))
    values = [str(to_json(to_python(value))) for value in column.values]
    more = f" … ({len(values)})" if len(values) > MOST_VALUES else ""
    return Column(
        name=column.name,
        kind=type_name(column),
        bounds=f"{low} … {high}" if low or high else "",
        values=", ".join(values[:MOST_VALUES]) + more,
        is_unit=column.role == dataset_pb2.ColumnDeclaration.ROLE_UNIT,
    )


def _call(asked: Asked) -> str:
    agreement = f", agreement={asked.agreement!r}" if asked.agreement else ""
    return f"zone.dataset({asked.dataset!r}).sql({_literal(asked.sql)}{agreement}).run(epsilon={asked.epsilon!r})"


def _literal(sql: str) -> str:
    """A Python literal of exactly this text; over several lines where that reads better and changes nothing."""
    plain = "\n" in sql and "\\" not in sql and '"""' not in sql and not sql.endswith('"')
    return f'"""{sql}"""' if plain and sql.replace("\n", "").isprintable() else repr(sql)


class _Pages:
    def __init__(self, console: Serving) -> None:
        self._console = console

    async def empty(self, request: Request) -> Response:
        me, work = await self._console.ask(request, lambda gateway: _workbench(gateway, None))
        return self._console.page(request, "workbench.html", me=me, work=work, outcome=None)

    async def with_job(self, request: Request) -> Response:
        job = request.path_params["job"]

        def read(gateway: Gateway) -> tuple[Me, Workbench, Outcome]:
            found = gateway.get_job(job)
            me, work = _workbench(gateway, found)
            return me, work, _outcome(gateway, found)

        me, work, outcome = await self._console.ask(request, read)
        return self._console.page(request, "workbench.html", me=me, work=work, outcome=outcome, **_NAMES)

    async def preview(self, request: Request) -> Response:
        """A part of the page; what is wrong with the question is shown there too, with its place in the text."""
        form = await read_form(request, MAX_DOCUMENT)
        try:
            asked = Asked.of(form)
            shown = await self._console.ask(request, partial(_shown, asked))
        except Problem as problem:
            if is_signed_out(problem):
                return Response(status_code=200, headers={"HX-Redirect": "/sign-in"})
            return self._console.page(request, "workbench_problem.html", problem=problem)
        return self._console.page(request, "workbench_preview.html", shown=shown, python=python_of(asked))

    async def prepare(self, request: Request) -> Response:
        """The bytes of the authorization, for the browser to check and sign."""
        form = await read_form(request, MAX_DOCUMENT)
        asked, key = Asked.of(form), from_base64(form.get("key", ""), "key")
        if len(key) != _KEY_BYTES:
            raise Problem(Kind.MALFORMED, "key", f"A key has {_KEY_BYTES} bytes.", field="key")
        preview = await self._console.ask(request, partial(previewed, asked))
        plan = preview.message.plan
        authorization = authorization_of(key, plan, uuid.uuid4().hex, preview.message.agreement)
        return JSONResponse(
            {"body": to_base64(authorization.SerializeToString(deterministic=True)), "plan": to_base64(plan)}
        )

    async def run(self, request: Request) -> Response:
        form = await read_form(request, MAX_DOCUMENT)
        asked = Asked.of(form)
        try:
            authorization = job_pb2.Authorization.FromString(from_base64(form.get("body", ""), "body"))
        except DecodeError as error:
            raise Problem(Kind.MALFORMED, "body", "The body is no authorization.", field="body") from error
        submitted = job_pb2.SubmitQueryRequest(
            query=asked.message(),
            authorization=authorization,
            signature=from_base64(form.get("signature", ""), "signature"),
        )
        job = await self._console.ask(request, lambda gateway: gateway.submit_query(submitted))
        return JSONResponse({"next": f"/workbench/{job.job}"})

    async def answer(self, request: Request) -> Response:
        """The job as it is now: a part of the page, which asks again until it has ended."""
        job = request.path_params["job"]
        outcome = await self._console.ask(request, lambda gateway: _outcome(gateway, gateway.get_job(job)))
        return self._console.page(request, "workbench_answer.html", outcome=outcome, **_NAMES)

    async def csv(self, request: Request) -> Response:
        job = request.path_params["job"]
        text = await self._console.ask(request, lambda gateway: csv_of(Job(gateway.get_job(job), gateway).answer()))
        named = {"Content-Disposition": f'attachment; filename="{job}.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=named)


_NAMES: Mapping[str, Any] = {"steps": STEPS, "chart": {"width": WIDTH, "label": LABEL, "row": ROW}}


def _workbench(gateway: Gateway, job: job_pb2.Job | None) -> tuple[Me, Workbench]:
    me = who_is(gateway)
    check_kind(me, "developer")
    declared = [dataset.declaration for dataset in gateway.list_datasets()]
    agreements = [Agreement(each) for each in gateway.list_agreements()]
    in_force = [each for each in agreements if each.state is State.IN_FORCE]
    first = declared[0].dataset if declared else ""
    epsilon = Preview(job_pb2.Preview(plan=job.plan)).plan.epsilon if job is not None else 1.0
    return me, Workbench(
        datasets=[(each, [(table.name, columns_of(table)) for table in each.tables]) for each in declared],
        agreements=in_force,
        dataset=job.dataset if job is not None else in_force[0].dataset if in_force else first,
        sql=job.sql if job is not None else "",
        epsilon=f"{epsilon:g}",
        agreement=job.agreement if job is not None else "",
    )


def _shown(asked: Asked, gateway: Gateway) -> Shown:
    check_kind(who_is(gateway), "developer")
    preview = previewed(asked, gateway)
    grade = gateway.get_dataset(asked.dataset).declaration.grade
    kinds = ("provider", "supervisor") if grade >= 4 else ("provider",)
    return Shown(
        preview=preview,
        expected=expected(bytes(preview.message.plan)),
        sentences=average_sentences(preview.forecast),
        waits_for=[ORGANISATION_NAMES[kind] for kind in kinds] if preview.needs_approval else [],
    )


def _outcome(gateway: Gateway, message: job_pb2.Job) -> Outcome:
    job = Job(message, gateway)
    answer, problem, checks = None, None, 0
    if job.is_final:
        try:
            answer = job.answer()
            checks = len(answer.receipt.verify())
            # A receipt that does not hold has no numbers worth showing: this fails before they are.
            table = answer.table
        except Problem as found:
            answer, problem = None, found
    state, event = _agreement(gateway, message.agreement)
    return Outcome(
        job=job,
        state=STATE_NAMES.get(message.state, "state.unknown"),
        answer=answer,
        header=[] if answer is None else [column.name for column in table.columns],
        rows=[] if answer is None else answer_rows(table)[:MOST_ROWS],
        charts=[] if answer is None else charts_of(table),
        checks=checks,
        problem=problem,
        agreement_state=state,
        agreement_event=event,
    )


def _agreement(gateway: Gateway, name: str) -> tuple[str, Event | None]:
    """What became of a job's agreement, where it is not in force any more."""
    if not name:
        return "", None
    agreement = Agreement(gateway.get_agreement(name))
    if agreement.state in (State.IN_FORCE, State.USED_UP):
        return "", None
    return STATES[agreement.state], agreement.events[-1] if agreement.events else None
