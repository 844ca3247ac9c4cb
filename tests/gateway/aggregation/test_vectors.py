"""What nodes sent is on the gateway's disk as they sent it, whatever was sent twice, late or from the beginning."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import parts
from yingbi.api.problem import Problem

from gateway.aggregation.vectors import Vectors

WIDTH = 4
JOB = "job-1"


@pytest.fixture
def store(tmp_path: Path) -> Vectors:
    return Vectors(tmp_path / "vectors")


def number(value: int) -> bytes:
    return value.to_bytes(WIDTH, "big")


def vector(length: int, start: int = 0) -> list[bytes]:
    return [number(start + index) for index in range(length)]


def read(store: Vectors, *nodes: str) -> list[list[bytes]]:
    """The nodes' whole vectors."""
    whole: list[list[bytes]] = [[] for _ in nodes]
    for first, stretch in store.parts(JOB, nodes, WIDTH):
        for one, more in zip(whole, stretch, strict=True):
            assert len(one) == first
            one.extend(more)
    return whole


def put_refused(store: Vectors, job: str, node: str, first: int, numbers: list[bytes]) -> Problem:
    with pytest.raises(Problem) as raised:
        store.put(job, node, first, numbers, WIDTH)
    return raised.value


def parts_refused(store: Vectors, *nodes: str) -> Problem:
    with pytest.raises(Problem) as raised:
        list(store.parts(JOB, nodes, WIDTH))
    return raised.value


@st.composite
def sendings(draw: st.DrawFn) -> tuple[list[bytes], int, list[int]]:
    """A vector, how many of its numbers are in a part, and in which order its parts come.

    No part comes before the one that it follows came once; apart from that they come again and late in any order.
    """
    numbers = vector(draw(st.integers(0, 20)), 1000)
    step = draw(st.integers(1, 7))
    count = max(1, -(-len(numbers) // step))
    order: list[int] = []
    for new in range(count):
        order += draw(st.lists(st.integers(0, new - 1), max_size=3)) if new else []
        order.append(new)
    order += draw(st.lists(st.integers(0, count - 1), max_size=4))
    return numbers, step, order


@given(sendings())
def test_parts_that_come_again_late_or_from_the_first_change_nothing(sent: tuple[list[bytes], int, list[int]]) -> None:
    numbers, step, order = sent
    with tempfile.TemporaryDirectory() as name:
        store = Vectors(Path(name) / "vectors")
        for index in order:
            first = index * step
            store.put(JOB, "node-1", first, numbers[first : first + step], WIDTH)
        assert read(store, "node-1") == [numbers]


@given(st.integers(1, 12), st.integers(0, 40), st.sampled_from([1, 30, 64, 1000]))
def test_stretches_of_all_vectors_are_together_no_longer_than_a_part(nodes: int, length: int, part_bytes: int) -> None:
    """Or hold one number of each: memory does not grow with the vectors."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", part_bytes)
        store = Vectors(Path(folder) / "vectors")
        names = [f"node-{index}" for index in range(nodes)]
        for index, name in enumerate(names):
            store.put(JOB, name, 0, vector(length, 100 * index), WIDTH)
        stretches = [stretch for _, stretch in store.parts(JOB, names, WIDTH)]
        for stretch in stretches:
            held = sum(len(one) for vector in stretch for one in vector)
            assert held <= part_bytes or all(len(vector) == 1 for vector in stretch)
        assert read(store, *names) == [vector(length, 100 * index) for index in range(nodes)]


def test_a_part_that_does_not_follow_is_refused(store: Vectors) -> None:
    store.put(JOB, "node-2", 0, vector(3), WIDTH)
    problem = put_refused(store, JOB, "node-2", 4, vector(1))
    assert problem.code == "bad_contribution"
    assert "node-2 lacks a part" in str(problem)
    # Nor one of another node or job: each has a vector of its own.
    assert put_refused(store, JOB, "node-1", 3, vector(1)).code == "bad_contribution"
    assert put_refused(store, "job-2", "node-2", 3, vector(1)).code == "bad_contribution"
    assert read(store, "node-2") == [vector(3)]


@pytest.mark.parametrize("width", [0, WIDTH - 1, WIDTH + 1])
def test_numbers_of_another_length_are_refused(store: Vectors, width: int) -> None:
    problem = put_refused(store, JOB, "node-2", 0, [number(1), bytes(width)])
    assert problem.code == "bad_contribution"
    assert "node-2" in str(problem)


def test_vectors_of_different_lengths_are_not_added(store: Vectors) -> None:
    store.put(JOB, "node-1", 0, vector(3), WIDTH)
    store.put(JOB, "node-2", 0, vector(2), WIDTH)
    assert parts_refused(store, "node-1", "node-2").code == "bad_contribution"


def test_a_vector_that_is_not_there_is_a_failure_that_says_so(store: Vectors) -> None:
    store.put(JOB, "node-1", 0, vector(3), WIDTH)
    problem = parts_refused(store, "node-1", "node-2")
    assert problem.code == "storage"
    assert "No such file" in str(problem)


def test_a_disk_that_is_full_is_told_as_that(store: Vectors, tmp_path: Path) -> None:
    """Every write to this device fails as on a full disk."""
    (tmp_path / "vectors" / JOB).mkdir()
    (tmp_path / "vectors" / JOB / "node-1").symlink_to("/dev/full")
    problem = put_refused(store, JOB, "node-1", 0, vector(3))
    assert problem.code == "storage"
    assert "No space left" in str(problem)
    assert "budget is spent" in str(problem)
    assert problem.hint is not None
    assert "disk full" in problem.hint


def test_a_removed_jobs_vectors_are_gone_and_others_stay(store: Vectors, tmp_path: Path) -> None:
    store.put(JOB, "node-1", 0, vector(3), WIDTH)
    store.put("job-2", "node-1", 0, vector(2), WIDTH)
    store.remove("job-2")
    store.remove("job-2")
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == [JOB]
    assert read(store, "node-1") == [vector(3)]


def test_a_gateway_that_starts_removes_what_an_earlier_run_left(store: Vectors, tmp_path: Path) -> None:
    """Nodes are asked for it again; half a vector must not be taken for one."""
    store.put(JOB, "node-1", 0, vector(3), WIDTH)
    again = Vectors(tmp_path / "vectors")
    assert parts_refused(again, "node-1").code == "storage"
    assert not list((tmp_path / "vectors").iterdir())


def test_nobody_else_reads_what_passes_through(store: Vectors, tmp_path: Path) -> None:
    store.put(JOB, "node-1", 0, vector(1), WIDTH)
    folder = tmp_path / "vectors"
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, folder / JOB / "node-1")] == ["0o700", "0o600"]
