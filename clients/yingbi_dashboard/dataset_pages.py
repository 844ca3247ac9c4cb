"""The catalogue: which datasets there are, under what rules, and made-up rows of each. Everything here is public."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yingbi.agreements import Agreement
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, Dataset, DatasetDeclaration
from yingbi.api.v1.people_pb2 import Me
from yingbi.budget import Budget
from yingbi.cells import to_python
from yingbi.datasets import type_name
from yingbi.display import cell_text, key_text
from yingbi.mock import mock_tables
from yingbi.transport import Gateway

from yingbi_dashboard.budget_pages import AGREEMENT_STATES
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

MOCK_ROWS = 5
MOST_VALUES = 20
RULES = {1: "dataset.grade_low", 2: "dataset.grade_low", 3: "dataset.grade_three", 4: "dataset.grade_four"}
"""Who must say yes to a plan on data of a grade."""


@dataclass(frozen=True)
class Column:
    """A declared column, in words."""

    name: str
    kind: str
    range: str
    is_unit: bool
    required: bool


@dataclass(frozen=True)
class Table:
    """A declared table, with made-up rows."""

    name: str
    max_rows: int
    columns: list[Column]
    mock: list[list[str]]


@dataclass(frozen=True)
class DatasetPage:
    """Everything on the page."""

    dataset: Dataset
    budget: Budget
    tables: list[Table]
    agreements: list[Agreement]
    rule: str


class DatasetPages:
    """The catalogue, and one dataset."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        return [Route("/catalogue", self._catalogue), Route("/catalogue/{dataset}", self._dataset)]

    async def _catalogue(self, request: Request) -> Response:
        def read(gateway: Gateway) -> tuple[list[Dataset], Me]:
            return gateway.list_datasets(), who_is(gateway)

        found, me = await self._console.ask(request, read)
        return self._console.page(
            request,
            "catalogue.html",
            found=[(each, Budget.of(each.budget)) for each in found],
            rules=RULES,
            title=title,
            me=me,
        )

    async def _dataset(self, request: Request) -> Response:
        name = request.path_params["dataset"]

        def read(gateway: Gateway) -> tuple[Dataset, list[Agreement], Me]:
            agreements = [Agreement(each) for each in gateway.list_agreements(name)]
            return gateway.get_dataset(name), agreements, who_is(gateway)

        dataset, agreements, me = await self._console.ask(request, read)
        return self._console.page(
            request,
            "dataset.html",
            page=page_of(dataset, agreements),
            title=title,
            me=me,
            agreement_states=AGREEMENT_STATES,
        )


def title(declaration: DatasetDeclaration, language: str) -> str:
    """In the reader's language, else in English, else in any; its name where it has none."""
    titles = dict(declaration.title)
    return titles.get(language) or titles.get("en") or next(iter(titles.values()), declaration.dataset)


def page_of(dataset: Dataset, agreements: list[Agreement]) -> DatasetPage:
    """The page of a dataset."""
    declaration = dataset.declaration
    return DatasetPage(
        dataset,
        Budget.of(dataset.budget),
        _tables(declaration),
        agreements,
        RULES.get(declaration.grade, "dataset.grade_other"),
    )


def _tables(declaration: DatasetDeclaration) -> list[Table]:
    try:
        # The same rows at each look, so that the page does not change as one reads it.
        mock = {table.name: table.rows for table in mock_tables(declaration, MOCK_ROWS, seed=0)}
    except Problem:
        mock = {}
    return [
        Table(
            table.name,
            table.max_rows_per_unit,
            [_column(column) for column in table.columns],
            [[cell_text(cell) for cell in row] for row in mock.get(table.name, ())],
        )
        for table in declaration.tables
    ]


def _column(column: ColumnDeclaration) -> Column:
    return Column(
        column.name,
        type_name(column),
        _range(column),
        column.role == ColumnDeclaration.ROLE_UNIT,
        column.required,
    )


def _range(column: ColumnDeclaration) -> str:
    if column.values:
        shown = ", ".join(key_text(to_python(value)) for value in column.values[:MOST_VALUES])
        return shown + (", …" if len(column.values) > MOST_VALUES else "")
    if column.HasField("lower") or column.HasField("upper"):
        lower = f"{column.lower:g}" if column.HasField("lower") else "…"
        return f"{lower} – {column.upper:g}" if column.HasField("upper") else f"{lower} – …"
    return ""
