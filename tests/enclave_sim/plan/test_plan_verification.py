"""What may be declared as verifiable, and when a claimed value is a stored one: exactly, or not at all."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
)
from yingbi.api.v1.verification_pb2 import ConsentIssuer, ScoreBand, VerificationField
from yingbi.consents import Value, claim_text

from enclave_sim.plan.schema import DeclarationError, check_declaration
from enclave_sim.plan.values import MAX_INT64, MIN_INT64
from enclave_sim.plan.verification import (
    canonical,
    canonical_claim,
    canonical_subject,
    check_issuers,
    check_verification,
)
from enclave_sim.verification import band_of
from tests.attacks.verifying import people_declaration

KEY = bytes(range(32))
NONE = r"is no|is not|has at most|has 1 to|day is out of range|hour must be"
TYPED: tuple[tuple[ColumnType.ValueType, st.SearchStrategy[Value]], ...] = (
    (COLUMN_TYPE_BOOL, st.booleans()),
    (COLUMN_TYPE_INT64, st.integers(MIN_INT64, MAX_INT64)),
    (COLUMN_TYPE_FLOAT64, st.floats(allow_nan=False, allow_infinity=False)),
    (COLUMN_TYPE_STRING, st.text(st.characters(codec="utf-8"), max_size=60)),
    (COLUMN_TYPE_DATE, st.dates()),
    (COLUMN_TYPE_TIMESTAMP, st.datetimes()),
)
ANY = st.sampled_from(TYPED).flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1], typed[1]))


def column(kind: ColumnType.ValueType) -> ColumnDeclaration:
    return ColumnDeclaration(name="x", type=kind)


@given(ANY)
def test_a_claim_is_a_stored_value_where_both_are_equal(drawn: tuple[ColumnType.ValueType, Value, Value]) -> None:
    kind, stored, claimed = drawn
    said = canonical_claim(claim_text("x", claimed), column(kind))
    assert (said == canonical(stored)) is (stored == claimed)
    assert canonical_claim(claim_text("x", stored), column(kind)) == canonical(stored)


def test_zero_has_no_sign_and_whole_numbers_no_point() -> None:
    for text in ("0", "-0.0", "0e9", "0.000"):
        assert canonical_claim(text, column(COLUMN_TYPE_FLOAT64)) == canonical(-0.0)
    assert canonical_claim(claim_text("x", 3.0), column(COLUMN_TYPE_INT64)) == canonical(3)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (COLUMN_TYPE_INT64, ["", "+1", "01", "-0", "1.0", "1e3", " 1", "1 ", "1_000", "٣", str(2**63), "x", "null"]),
        (COLUMN_TYPE_FLOAT64, ["", "nan", "inf", "-inf", "1e999", ".5", "5.", "0x1p3", "1,5", "٣.5", "*"]),
        (COLUMN_TYPE_BOOL, ["", "True", "1", "yes", "*"]),
        (COLUMN_TYPE_DATE, ["", "2024-02-30", "24-02-28", "2024-2-28", "2024-02-28 ", "*"]),
        (COLUMN_TYPE_TIMESTAMP, ["", "2024-02-28T25:00", "2024-02-28 08:30Z", "now"]),
        (COLUMN_TYPE_STRING, ["x" * 257, "中" * 86]),
    ],
)
def test_a_text_that_is_none_of_the_type_is_refused(kind: ColumnType.ValueType, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=NONE):
            canonical_claim(text, column(kind))


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_no_text_makes_anything_but_bytes_or_a_refusal(text: str) -> None:
    for kind, _ in TYPED:
        for read in (canonical_claim, canonical_subject):
            try:
                assert isinstance(read(text, column(kind)), bytes)
            except ValueError:
                continue


def test_an_identifier_has_one_form() -> None:
    assert canonical_subject("12", column(COLUMN_TYPE_INT64)) == canonical(12)
    for text in ("", "012", "12.0", "1" * 600):
        with pytest.raises(ValueError, match=NONE):
            canonical_subject(text, column(COLUMN_TYPE_INT64))
    with pytest.raises(ValueError, match=NONE):
        canonical_subject("", column(COLUMN_TYPE_STRING))


def test_numbers_that_no_claim_can_be_are_never_sealed() -> None:
    with pytest.raises(Exception, match="no value"):
        claim_text("x", math.nan)
    with pytest.raises(Exception, match="no value"):
        claim_text("x", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))


def bands(*percents: int) -> list[ScoreBand]:
    return [ScoreBand(name=f"band-{place}", percent=percent) for place, percent in enumerate(percents)]


def _set_bands(declaration: DatasetDeclaration, *percents: int) -> None:
    declaration.verification.bands.extend(bands(*percents))


CHANGES: dict[str, tuple[Callable[[DatasetDeclaration], object], str]] = {
    "grade 4": (lambda d: setattr(d, "grade", 4), "verification"),
    "agreements": (lambda d: setattr(d, "agreements_required", True), "verification"),
    "no field": (lambda d: d.verification.ClearField("fields"), "verification.fields"),
    "a table of none": (
        lambda d: d.verification.fields.append(VerificationField(table="x", column="male")),
        "verification.fields.x",
    ),
    "a column of none": (
        lambda d: d.verification.fields.append(VerificationField(table="people", column="x")),
        "verification.fields.people",
    ),
    "the unit": (
        lambda d: d.verification.fields.append(VerificationField(table="people", column="person")),
        "verification.fields.people",
    ),
    "a field twice": (
        lambda d: d.verification.fields.append(VerificationField(table="people", column="male")),
        "verification.fields.people",
    ),
    "several rows": (lambda d: setattr(d.tables[0], "max_rows_per_unit", 2), "verification.fields.people"),
    "no purpose": (lambda d: d.verification.ClearField("purposes"), "verification.purposes"),
    "any purpose": (lambda d: d.verification.purposes.append("*"), "verification.purposes"),
    "a purpose twice": (lambda d: d.verification.purposes.append("employment"), "verification.purposes"),
    "no issuer": (lambda d: d.verification.ClearField("issuers"), "verification.issuers"),
    "a short key": (
        lambda d: d.verification.issuers.append(ConsentIssuer(name="other", key=KEY[:31])),
        "verification.issuers.other",
    ),
    "one key for two": (
        lambda d: d.verification.issuers.append(ConsentIssuer(name="other", key=KEY)),
        "verification.issuers",
    ),
    "one name for two": (
        lambda d: d.verification.issuers.append(ConsentIssuer(name="registry", key=KEY[::-1])),
        "verification.issuers",
    ),
    "one band": (lambda d: _set_bands(d, 0), "verification.bands"),
    "no lowest band": (lambda d: _set_bands(d, 100, 1), "verification.bands"),
    "bands that rise": (lambda d: _set_bands(d, 50, 60, 0), "verification.bands"),
    "a band beyond all": (lambda d: _set_bands(d, 101, 0), "verification.bands"),
    "no limit of a subject": (
        lambda d: setattr(d.verification, "each_subject_a_day", 0),
        "verification.limits.each_subject_a_day",
    ),
    "no limit of a developer": (
        lambda d: setattr(d.verification, "each_developer_a_day", 0),
        "verification.limits.each_developer_a_day",
    ),
    "a price beyond counting": (lambda d: setattr(d.verification, "price", 2**60), "verification.price"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_may_not_be_offered_is_refused_with_its_place(change: str) -> None:
    declaration = people_declaration(KEY)
    check_declaration(declaration)
    check_verification(declaration)
    alter, path = CHANGES[change]
    alter(declaration)
    with pytest.raises(DeclarationError) as refused:
        check_verification(declaration)
    assert refused.value.field_path == path


def test_several_rows_are_no_harm_where_they_have_one_value() -> None:
    declaration = people_declaration(KEY)
    declaration.tables[0].max_rows_per_unit = 5
    for one in declaration.tables[0].columns[1:]:
        one.constant_per_unit = True
    check_verification(declaration)


def test_the_key_of_a_developer_is_no_issuers() -> None:
    check_issuers(people_declaration(KEY), frozenset({KEY[::-1]}))
    with pytest.raises(DeclarationError) as refused:
        check_issuers(people_declaration(KEY), frozenset({KEY}))
    assert refused.value.field_path == "verification.issuers.registry"


@pytest.mark.parametrize(
    ("matching", "claimed", "band"),
    [(3, 3, "band-0"), (67, 100, "band-1"), (2, 3, "band-2"), (1, 2, "band-2"), (1, 3, "band-3"), (0, 1, "band-3")],
)
def test_a_band_begins_at_exactly_its_share(matching: int, claimed: int, band: str) -> None:
    assert band_of(bands(100, 67, 50, 0), matching, claimed) == band
