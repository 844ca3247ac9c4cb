"""The main job, end to end, through the real processes and on real patient data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yingbi
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from yingbi.display import answer_rows, decimals_for
from yingbi.programs import Program

from demo import agreeing, modelling, nafld, programs, together, truth, verifying

QUESTIONS = (
    (
        "Average and count by laboratory test",
        "SELECT test, AVG(value) AS average, COUNT(*) AS n FROM labs GROUP BY test",
        2.0,
    ),
    (
        "Deaths and mean age by sex (male: 0 no, 1 yes)",
        "SELECT male, SUM(status) AS deaths, AVG(age) AS mean_age FROM patients GROUP BY male",
        1.0,
    ),
    (
        "Median body-mass index",
        "SELECT MEDIAN(bmi) AS median_bmi FROM patients",
        0.5,
    ),
    (
        "Mean hdl of each patient's tests, by sex: a join of patients with a sub-query per patient",
        "SELECT male, AVG(hdl) AS mean_hdl, COUNT(*) AS patients FROM patients"
        " JOIN (SELECT id, AVG(value) AS hdl FROM labs WHERE test = 'hdl' GROUP BY id) USING (id) GROUP BY male",
        0.5,
    ),
    (
        "Diagnoses, whose names nobody declared: those that enough patients have are selected first",
        "SELECT event, COUNT(*) AS n FROM diagnoses GROUP BY event ORDER BY n DESC",
        1.5,
    ),
)
RAW_ROWS = "SELECT * FROM patients"
COMMAND_SECONDS = 180

console = Console(highlight=False)


class DemoError(Exception):
    """A command of the demo did not do what it should; the sentence says which and why."""


@dataclass(frozen=True)
class Place:
    """The demo's temporary folder."""

    root: Path

    @property
    def zone(self) -> Path:
        return self.root / "zone"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def receipt(self) -> Path:
        return self.root / "receipt.json"


def main() -> int:
    """Run the demo; 0 if all went well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="yingbi-demo-") as folder:
            place = Place(Path(folder))
            # The demo's profile must not become the user's.
            os.environ["XDG_CONFIG_HOME"] = str(place.root / "config")
            os.environ.pop("YINGBI_ZONE", None)
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            _play(place)
    except KeyboardInterrupt:
        console.print("interrupted; the zone is stopped")
        return 130
    except (DemoError, yingbi.Problem) as error:
        console.print(f"[red]error:[/] {escape(str(error))}")
        return 1
    console.print(f"[dim]{time.monotonic() - began:.0f} s[/]")
    return 0


def _play(place: Place) -> None:
    with ThreadPoolExecutor(1) as meanwhile:
        preparing = meanwhile.submit(nafld.prepare, place.data)
        _with_zone(place, preparing)
    console.print("\nThe zone is stopped; nothing is left running.")


def _with_zone(place: Place, preparing: Future[nafld.Nafld]) -> None:
    with _running_zone(place):
        data, office = preparing.result(), verifying.PatientsOffice()
        office.approved_in(data.metadata)
        _add_data(place, data)
        _agree(place)
        with yingbi.connect() as zone:
            dataset = zone.dataset("nafld")
            first, *_ = [_ask(dataset, data, title, sql, epsilon) for title, sql, epsilon in QUESTIONS]
            _heading("What is left")
            console.print(str(zone.dataset("nafld").budget))
            _verify(place, first)
            _try_to_open(place, first)
            _ask_again(zone, first)
            _ask_for_rows(dataset)
            _run_programs(place, dataset)
            _train_and_evaluate(place, dataset, data)
            _verify_a_claim(dataset, data, office)
        _audit()


@contextmanager
def _running_zone(place: Place) -> Iterator[None]:
    _heading("A zone of three hospitals")
    _yingbi("init", str(place.zone))
    console.print("[dim]Six organisations: developer, operator, provider, supervisor, coordinator, auditor.[/]")
    try:
        ready = _yingbi("up", str(place.zone), "--detach")
        processes = _yingbi("status", str(place.zone))["processes"]
        assert isinstance(processes, list)
        names = ", ".join(f"{process['role']} {process['name']}".strip() for process in processes)
        console.print(f"{len(processes)} processes, gateway at {ready['gateway']}: {names}")
        yield
    finally:
        # Not to be interrupted: what was started is stopped.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _yingbi("down", str(place.zone))


def _add_data(place: Place, data: nafld.Nafld) -> None:
    _heading("Their patients")
    counts = ", ".join(f"{len(table):,} {name}" for name, table in data.tables.items())
    _yingbi("dataset", "add", str(place.zone), str(data.metadata))
    console.print(f"{counts}; sealed by each hospital's enclave")
    console.print(f"[dim]{nafld.COPIES_NOTE}[/]")
    console.print(f"[dim]{nafld.SPLIT_NOTE}[/]")
    console.print("[dim]The enclaves are simulated: whoever has root on this machine can look into them.[/]")


def _agree(place: Place) -> None:
    _heading("Before the first question: an agreement, by four organisations")
    try:
        with yingbi.connect() as zone:
            zone.dataset("nafld").sql(QUESTIONS[0][1]).run(QUESTIONS[0][2], progress=False)
    except yingbi.Problem as problem:
        console.print(f"Without one: [red]refused[/] ({problem.code})")
    else:
        raise DemoError("a question was answered under no agreement")
    state = agreeing.agree(_yingbi, place.root, console.print)
    if state != "in force":
        raise DemoError(f"the agreement is {state}, not in force")


def _audit() -> None:
    _heading("What was done, by whom")
    found = _yingbi("audit", "verify")
    console.print(f"[green]✓[/] {found['rows']} rows of the audit record, none of them changed since it was written")


def _ask(dataset: yingbi.Dataset, data: nafld.Nafld, title: str, sql: str, epsilon: float) -> yingbi.Answer:
    _heading(title)
    console.print(f"[cyan]{escape(sql)}[/]")
    query = dataset.sql(sql)
    console.print("\nBefore anything is spent:")
    console.print(escape(repr(query.preview(epsilon))))
    began = time.monotonic()
    answer = query.run(epsilon, progress=False)
    console.print(f"\nAnswered in {time.monotonic() - began:.1f} s, for ε = {epsilon:g}:")
    _show(answer, data)
    return answer


def _show(answer: yingbi.Answer, data: nafld.Nafld) -> None:
    """Every cell beside the truth, which the demo may look at because it owns the rows."""
    exact = truth.clipped(answer.plan, data.tables, "id")
    plain = truth.raw(answer.job.message.sql, data.tables, answer.table)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("group", "column"):
        table.add_column(name, no_wrap=True)
    for name in ("answer", "95 % interval", "Δ clipped", "holds", "Δ raw"):
        table.add_column(name, justify="right", no_wrap=True)
    columns = answer.table.columns
    for row, texts in enumerate(answer_rows(answer.table)):
        group = ", ".join(text for text, column in zip(texts, columns, strict=True) if column.kind == "key")
        keys = truth.keys_of(answer.table, answer.table.rows[row])
        computed, stated = exact(keys), plain(keys)
        for index, column in enumerate(columns):
            if column.kind == "key":
                continue
            value, interval = answer.table.rows[row][index], answer.table.intervals[row][index]
            target = computed[index] if computed else None
            holds = (
                "–"
                if interval is None or not isinstance(target, float)
                else "[green]yes[/]"
                if interval[0] <= target <= interval[1]
                else "[yellow]no[/]"
            )
            table.add_row(
                group,
                column.name,
                texts[index],
                _between(interval),
                _distance(value, target),
                holds,
                _distance(value, stated[index] if stated else None),
            )
    console.print(
        "[dim]The demo owns these rows, so it may compare. Δ clipped: distance from what the plan computes"
        " before noise, which the interval is about; Δ raw: from plain SQL.[/]"
    )
    console.print(table)
    for note in answer.notes:
        console.print(f"[dim]{escape(note)}[/]")


def _between(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "–"
    low, high = interval
    places = decimals_for((high - low) / 4)
    return f"{low:,.{places}f} to {high:,.{places}f}"


def _distance(value: object, target: object) -> str:
    if not isinstance(value, float) or not isinstance(target, float):
        return "–"
    return f"{value - target:+,.3g}" if abs(value - target) < 1000 else f"{value - target:+,.0f}"


def _verify(place: Place, answer: yingbi.Answer) -> None:
    _heading("The receipt, checked offline")
    answer.receipt.save(place.receipt)
    found = _yingbi("receipt", "verify", str(place.receipt))["checks"]
    assert isinstance(found, list)
    for check in found:
        console.print(f"[green]✓[/] {escape(check['check'])}: [dim]{escape(check['finding'])}[/]")


def _try_to_open(place: Place, answer: yingbi.Answer) -> None:
    _heading("What travelled, and who could read it")
    sent = together.Travelled.of(answer.receipt.message)
    console.print(
        f"{sent.nodes * sent.each} ciphertexts travelled, {sent.each} from each of {sent.nodes} nodes:"
        f" {sent.size:,} bytes. Their sum was opened, by {sent.threshold} nodes together; none by itself ever was."
    )
    job = answer.receipt.job
    for nodes, expected in ((("node-1",), False), (("node-1", "node-2"), True)):
        found = together.opens(place.zone, job, nodes)
        if found != expected:
            raise DemoError(f"the shares of {' and '.join(nodes)} open {'a' if found else 'no'} contribution")
    console.print("With all that node-1's machine holds: [green]nothing opens[/], not even what it sent itself.")
    console.print(
        "[dim]Two such machines together reach the threshold, and read what each sent: sums with a noise share of its"
        " own. Hardware enclaves keep their shares from whoever has the machine; simulated ones do not.[/]"
    )


def _ask_again(zone: yingbi.Zone, first: yingbi.Answer) -> None:
    _heading("The same question again")
    _, sql, epsilon = QUESTIONS[0]
    dataset = zone.dataset("nafld")
    before = dataset.budget
    again = dataset.sql(sql).run(epsilon, progress=False)
    if not again.replayed or again.table != first.table or zone.dataset("nafld").budget != before:
        raise DemoError("the same question was computed again instead of replayed")
    console.print("The same numbers and no cost: the stored release was replayed.")


def _ask_for_rows(dataset: yingbi.Dataset) -> None:
    _heading("Rows, please")
    console.print(f"[cyan]{RAW_ROWS}[/]")
    try:
        dataset.sql(RAW_ROWS).run(1.0, progress=False)
    except yingbi.Problem as problem:
        console.print(f"[red]refused[/] ({problem.code}): {escape(problem.message)}")
        if problem.hint:
            console.print(f"[dim]{escape(problem.hint)}[/]")
        return
    raise DemoError("raw rows were not refused")


def _run_programs(place: Place, dataset: yingbi.Dataset) -> None:
    _heading("Two programs that nobody trusts: one computes, one steals")
    try:
        _run_honest(dataset)
        with programs.prey(place.root) as prey:
            _run_thief(dataset, prey)
    except yingbi.Problem as problem:
        if problem.code != "sandbox_unavailable":
            raise
        console.print(f"[yellow]not shown:[/] {escape(problem.message)}")
        console.print("[dim]Programs are refused where they cannot be isolated; queries go on.[/]")


def _run_honest(dataset: yingbi.Dataset) -> None:
    console.print(f"[cyan]{escape(programs.HONEST.decode())}[/]")
    answer = _program(dataset, programs.HONEST, programs.HONEST_OUTPUTS).run(programs.EPSILON, progress=False)
    _tell_outputs("The honest one got", answer)


def _run_thief(dataset: yingbi.Dataset, prey: programs.Prey) -> None:
    thief = _program(dataset, prey.thief, programs.THIEF_OUTPUTS)
    # The control: made-up rows, no sandbox.
    thief.rehearse(thief.preview(programs.EPSILON), rows=10)
    written, sent = prey.taken()
    if not (written and sent):
        raise DemoError("the thief steals nothing even where it may")
    console.print(f"Let loose on made-up rows, the thief wrote {written} of them to a file and sent {sent} away.")
    answer = thief.run(programs.EPSILON, progress=False)
    written, sent = prey.taken()
    if written or sent:
        raise DemoError(f"a program wrote {written} texts and sent {sent} from within the sandbox")
    _tell_outputs("In the enclaves, on real rows, it wrote [green]nothing[/], sent [green]nothing[/], and got", answer)
    console.print(
        "[dim]Of its three thefts a block, those that succeeded, give or take the noise; and the age and weight of one,"
        " put into a number beyond its range, which counts as the bound, 100, or as 50 where it took too long.[/]"
    )


def _program(dataset: yingbi.Dataset, code: bytes, outputs: tuple[str, ...]) -> Program:
    return dataset.program(code, outputs, tables=programs.TABLES, blocks=programs.BLOCKS, seconds=programs.SECONDS)


def _tell_outputs(what: str, answer: yingbi.Answer) -> None:
    [texts] = answer_rows(answer.table)
    shown = (f"{column.name} {text}" for column, text in zip(answer.table.columns, texts, strict=True))
    console.print(f"{what}: {escape(', '.join(shown))}, for ε = {programs.EPSILON:g}.")


def _train_and_evaluate(place: Place, dataset: yingbi.Dataset, data: nafld.Nafld) -> None:
    _heading("A model of deaths, trained in noised rounds")
    console.print(f"[cyan]{escape(modelling.FORMULA)}[/]")
    patients, began = data.tables["patients"], time.monotonic()
    model = modelling.trained(dataset)
    rounds = len(model.receipt.rounds)
    console.print(f"{rounds} rounds in {time.monotonic() - began:.1f} s, for ε = {modelling.EPSILON_TRAIN:g} together:")
    console.print(escape(repr(model)))
    own, clear = modelling.areas(model, patients)
    console.print(
        f"Area under the ROC curve, on the rows themselves: [bold]{own:.3f}[/], and {clear:.3f} of a model that was"
        " trained on them in the clear."
    )
    model.receipt.verify()
    console.print(f"[green]✓[/] the receipts of all {rounds} rounds verify, and give the same model again")
    _heading("The same model as a file, evaluated on rows that its developer does not see")
    try:
        found = modelling.evaluated(dataset, model, place.root)
    except yingbi.Problem as problem:
        if problem.code != "sandbox_unavailable":
            raise
        console.print(f"[yellow]not shown:[/] {escape(problem.message)}")
        return
    console.print(escape(repr(found)))


def _verify_a_claim(dataset: yingbi.Dataset, data: nafld.Nafld, office: verifying.PatientsOffice) -> None:
    _heading("One patient, who consents to one question")
    subject, claims = verifying.claims_of(data.tables["patients"])
    said = " and ".join(f"{name} = {value}" for name, value in claims.items())
    console.print(f"Is it so that {said}? Asked at each hospital, under a consent of its own:")
    nodes = ("node-1", "node-2", "node-3")
    answers = list(verifying.asked_everywhere(office, dataset, nodes, subject, claims))
    for answer, _ in answers:
        console.print(f"{answer.node}: [bold]{answer}[/]")
    if [answer.match for answer, _ in answers].count(True) != 1:
        raise DemoError("not exactly one hospital has the patient")
    console.print("[dim]No match: the claim is wrong, or the patient is not there; nobody can tell which.[/]")
    try:
        dataset.verify(subject, claims, verifying.PURPOSE, answers[0][1])
    except yingbi.Problem as problem:
        console.print(f"The same consent again: [red]refused[/] ({problem.code}): {escape(problem.message)}")
        return
    raise DemoError("a consent was used twice")


def _yingbi(*arguments: str) -> dict[str, object]:
    """Run a command of the command line; its JSON document."""
    script = Path(sys.executable).with_name("yingbi")
    done = subprocess.run(
        [str(script), *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
    )
    try:
        document = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise DemoError(f"yingbi {' '.join(arguments)}: {done.stderr.strip()[-500:]}") from error
    if done.returncode != 0:
        raise DemoError(f"yingbi {' '.join(arguments)}: {document.get('message', document)}")
    assert isinstance(document, dict)
    return document


def _heading(text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/]")


if __name__ == "__main__":
    sys.exit(main())
