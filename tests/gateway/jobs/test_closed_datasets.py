"""A dataset that is partly closed, at the gateway: refused before anything is spent; and its versions in the record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_DATA,
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    ZONE_TYPE_DOMAIN,
    ZONE_TYPE_REGIONAL,
    ColumnDeclaration,
    DatasetDeclaration,
    ServiceForm,
)
from yingbi.api.v1.job_pb2 import (
    BatchQuery,
    ProgramOutput,
    ProgramQuery,
    Query,
    SynthesizeQuery,
    TrainQuery,
)
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_STRING, Fit, Plan, ProgramTable

from enclave_sim.plan.columns_read import columns_read
from enclave_sim.plan.services import forms_of
from enclave_sim.plan.validation import check_plan
from gateway.governance.registration import RegisteredDataset
from gateway.storage import audit, catalogue
from tests.gateway.jobs.test_admission import DATASET, Account, Scene


def changed(change: Callable[[DatasetDeclaration], object]) -> RegisteredDataset:
    declaration = DatasetDeclaration.FromString(DATASET.declaration.SerializeToString())
    change(declaration)
    return replace(DATASET, declaration=declaration)


def _with_list(declaration: DatasetDeclaration) -> None:
    """`wage` and `note` are there and forbidden; `age` is there and is not."""
    attribute = ColumnDeclaration.ROLE_ATTRIBUTE
    number, text = COLUMN_TYPE_FLOAT64, COLUMN_TYPE_STRING
    declaration.tables[0].columns.extend(
        [
            ColumnDeclaration(name="age", type=number, role=attribute, lower=0, upper=100),
            ColumnDeclaration(name="wage", type=number, role=attribute, lower=0, upper=9, forbidden=True),
            ColumnDeclaration(name="note", type=text, role=attribute, max_length=9_999, forbidden=True),
        ]
    )
    twin = declaration.tables.add()
    twin.CopyFrom(declaration.tables[0])
    twin.name = "stays"


LISTED = changed(_with_list)
LINEAR = Fit.MODEL_LINEAR_REGRESSION


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "gateway").mkdir()
    scene = Scene(tmp_path / "gateway")
    yield scene
    scene.database.close()


@pytest.fixture
def ada() -> Account:
    return Account("ada", "college")


def preview(scene: Scene, account: Account, query: Query) -> Plan:
    query.dataset, query.epsilon = "visits", 0.5
    return Plan.FromString(asyncio.run(scene.admission.preview(account.caller, query)).plan)


def program(*columns: str) -> Query:
    tables = [ProgramTable(table="visits", columns=columns)] if columns else []
    outputs = [ProgramOutput(name="mean", lower=0, upper=10)]
    return Query(program=ProgramQuery(sha256=bytes(32), outputs=outputs, blocks=20, tables=tables))


NAMED = [
    (Query(sql="SELECT AVG(wage) FROM visits"), "sql", "1:12"),
    (Query(sql="SELECT COUNT(*) FROM visits\nWHERE Wage > 3"), "sql", "2:7"),
    (Query(sql="SELECT AVG(v.wage) FROM visits v JOIN stays s USING (person)"), "sql", "1:12"),
    (Query(sql="SELECT COUNT(*) FROM (SELECT *, wage + 1 AS more FROM visits) AS x"), "sql", "1:33"),
    (Query(sql="SELECT COUNT(DISTINCT note) FROM visits"), "sql", "1:23"),
    (Query(train=TrainQuery(model=LINEAR, formula="pain ~ wage", rows="visits")), "formula", "1:8"),
    (Query(train=TrainQuery(model=LINEAR, formula="wage ~ pain")), "formula", "1:1"),
    (Query(synthesize=SynthesizeQuery(columns="pain, wage", source="visits")), "columns", "1:7"),
    (Query(synthesize=SynthesizeQuery(columns="pain, wage")), "columns", "1:7"),
    (program("pain", "WAGE"), "tables", None),
]


@pytest.mark.requirement("GRD-08")
@pytest.mark.parametrize(("query", "field", "position"), NAMED)
def test_a_forbidden_column_is_refused_where_it_is_named(
    scene: Scene, ada: Account, query: Query, field: str, position: str | None
) -> None:
    scene.register(LISTED)
    with pytest.raises(Problem) as refusal:
        preview(scene, ada, query)
    problem = refusal.value
    assert (problem.kind, problem.code, problem.field) == (Kind.REFUSED, "forbidden_column", field)
    assert problem.position == position
    assert "negative list" in problem.message
    assert scene.spent() == {}


@pytest.mark.requirement("GRD-08")
def test_of_a_batch_too_with_the_question_that_names_it(scene: Scene, ada: Account) -> None:
    scene.register(LISTED)
    asked = BatchQuery(
        dataset="visits", sql=["SELECT COUNT(*) FROM visits", "SELECT AVG(wage) FROM visits"], epsilon=0.5
    )
    with pytest.raises(Problem) as refusal:
        asyncio.run(scene.admission.preview_batch(ada.caller, asked))
    assert (refusal.value.code, refusal.value.details["question"]) == ("forbidden_column", "2")
    assert refusal.value.message.startswith("Question 2: wage is on")


@pytest.mark.requirement("GRD-08")
@pytest.mark.parametrize(
    "query",
    [
        Query(sql="SELECT COUNT(*) FROM (SELECT * FROM visits) AS x"),
        Query(sql="SELECT COUNT(*) FROM visits AS v JOIN stays AS s USING (person)"),
        Query(sql="SELECT COUNT(*), AVG(v.pain) FROM visits v JOIN stays s USING (person) WHERE s.age > 3"),
        Query(sql="SELECT AVG(wage) FROM (SELECT person, MAX(pain) AS wage FROM visits GROUP BY person) AS x"),
        Query(train=TrainQuery(model=LINEAR, formula="pain ~ age", rows="visits")),
        program(),
    ],
)
def test_whatever_means_everything_means_what_may_be_read(scene: Scene, ada: Account, query: Query) -> None:
    """What enclaves are sent, they accept: no column of the list is read, though tables have it on both sides."""
    scene.register(LISTED)
    plan = preview(scene, ada, query)
    check_plan(plan, LISTED.declaration, dataset_version=LISTED.version)
    assert not {name for name in columns_read(plan, LISTED.declaration) if name.endswith(("wage", "note"))}


FORMS = {
    SERVICE_FORM_INTERFACE: Query(sql="SELECT COUNT(*) FROM visits"),
    SERVICE_FORM_MODEL: Query(train=TrainQuery(model=LINEAR, formula="pain ~ age", rows="visits")),
    SERVICE_FORM_DATA: Query(synthesize=SynthesizeQuery(columns="pain, age", source="visits", bins=4)),
}


@pytest.mark.requirement("GRD-09")
@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_is_asked_in_the_forms_that_it_is_served_in_and_no_other(
    scene: Scene, ada: Account, form: ServiceForm.ValueType
) -> None:
    def serve(declaration: DatasetDeclaration) -> None:
        _with_list(declaration)
        declaration.forms.append(form)

    scene.register(changed(serve))
    for other, query in FORMS.items():
        asked = Query.FromString(query.SerializeToString())
        if other == form:
            # As enclaves see it, too.
            assert forms_of(preview(scene, ada, asked)) == {form}
            continue
        with pytest.raises(Problem) as refusal:
            preview(scene, ada, asked)
        assert (refusal.value.kind, refusal.value.code) == (Kind.REFUSED, "form_not_enabled")
    assert scene.spent() == {}


def test_a_batch_is_served_as_questions_are(scene: Scene, ada: Account) -> None:
    scene.register(changed(lambda declaration: declaration.forms.append(SERVICE_FORM_DATA)))
    asked = BatchQuery(dataset="visits", sql=["SELECT COUNT(*) FROM visits"], epsilon=0.5)
    with pytest.raises(Problem) as refusal:
        asyncio.run(scene.admission.preview_batch(ada.caller, asked))
    assert refusal.value.code == "form_not_enabled"


@pytest.mark.requirement("CAT-02")
def test_a_zone_has_one_type(scene: Scene) -> None:
    scene.register(changed(lambda declaration: setattr(declaration, "zone_type", ZONE_TYPE_DOMAIN)))

    def other(zone: str) -> RegisteredDataset:
        def change(declaration: DatasetDeclaration) -> None:
            declaration.dataset = declaration.unit_namespace = f"in-{zone}"
            declaration.zone, declaration.zone_type = zone, ZONE_TYPE_REGIONAL

        return changed(change)

    scene.register(other("elsewhere"))
    with pytest.raises(Problem) as refusal:
        scene.register(other("clinic"))
    assert (refusal.value.code, refusal.value.field) == ("other_zone_type", "zone_type")
    # Its only dataset may say otherwise of it.
    scene.register(changed(lambda declaration: setattr(declaration, "zone_type", ZONE_TYPE_REGIONAL)))


@pytest.mark.requirement("CAT-01")
def test_each_version_of_an_entry_is_in_the_record_with_what_it_changed(scene: Scene) -> None:
    def reopen(declaration: DatasetDeclaration) -> None:
        declaration.catalogue.opening.mode = "by request"
        declaration.forms.append(SERVICE_FORM_MODEL)

    asyncio.run(scene.database.run(lambda c: catalogue.register(c, changed(reopen), person="Ou", organisation="hub")))
    rows = asyncio.run(scene.database.run(lambda connection: list(audit.page(connection, 0, 100))))
    told = [(row.subject, row.person, json.loads(row.details)["changed"]) for row in rows]
    assert told == [("visits", "gateway", []), ("visits", "Ou", ["catalogue.opening", "forms"])]
