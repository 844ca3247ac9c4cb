"""docs/governance.md is what the requirements, the markers of tests and the `Keeps:` lines of code make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.generate_governance import PAGE, Mistake, Place, page, read

STATED = """
sources: {ZONE: zones}
requirements:
  ROL-01: {says: "Kinds.", source: ZONE 4}
  ROL-02: {says: "Apart.", source: ZONE 22, missing: "Later."}
"""
KEEPER = '''"""Callers.

Keeps: ROL-01
"""


class Table:
    def row(self):
        """Row.

        Keeps: ROL-01.
        """
'''
TRIER = 'import pytest\n\n\n@pytest.mark.requirement("ROL-01")\ndef test_kinds(): ...\n'


def tree(root: Path, *, stated: str = STATED, keeper: str = KEEPER, trier: str = TRIER) -> Path:
    """A repository in small."""
    for file, text in (
        ("docs/requirements.yaml", stated),
        ("gateway/callers.py", keeper),
        ("tests/test_callers.py", trier),
    ):
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text(text)
    return root


def test_the_page_is_what_the_generator_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read()), "run `make governance`"


def test_code_and_tests_are_found_with_their_names(tmp_path: Path) -> None:
    first, second = read(tree(tmp_path))
    assert first.kept == (Place("gateway/callers.py", ""), Place("gateway/callers.py", "Table.row"))
    assert first.tried == (Place("tests/test_callers.py", "test_kinds"),)
    assert (second.kept, second.tried, second.missing) == ((), (), "Later.")


def test_what_a_whole_module_tries_is_said_once(tmp_path: Path) -> None:
    trier = 'import pytest\n\npytestmark = [pytest.mark.timeout(9), pytest.mark.requirement("ROL-01", "ROL-02")]\n'
    assert [each.tried for each in read(tree(tmp_path, trier=trier))] == [(Place("tests/test_callers.py", ""),)] * 2


def test_a_mark_on_one_parameter_counts_for_its_test(tmp_path: Path) -> None:
    marked = '@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.requirement("ROL-01"))])'
    found = read(tree(tmp_path, trier=f"import pytest\n\n\n{marked}\ndef test_kinds(x): ...\n"))
    assert found[0].tried == (Place("tests/test_callers.py", "test_kinds"),)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trier": TRIER.replace("ROL-01", "ROL-09")}, "test_callers.py: ROL-09 is not in docs/requirements.yaml"),
        ({"keeper": KEEPER.replace("ROL-01", "ROL-09")}, "callers.py: ROL-09 is not in docs/requirements.yaml"),
        ({"keeper": KEEPER.replace("ROL-01", "rol 1")}, "'rol 1' is no id"),
        ({"trier": TRIER.replace('"ROL-01"', "ID")}, "an id is written out"),
        ({"trier": TRIER.replace('"ROL-01"', "")}, "the marker takes ids"),
        ({"trier": "def test_kinds(): ..."}, "ROL-01: no test tries it"),
        ({"keeper": '"""Callers."""'}, "ROL-01: no code keeps it"),
        ({"stated": STATED.replace('missing: "Later."', 'until: "Later."')}, "ROL-02 has the keys"),
        ({"stated": STATED.replace(', missing: "Later."', "")}, "ROL-02: no code keeps it"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(Mistake) as told:
        read(tree(tmp_path, **changed))
    assert said in str(told.value)
