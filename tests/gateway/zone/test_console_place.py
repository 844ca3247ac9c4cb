"""Where the console is: chosen before the gateway starts, and the same from one `up` to the next where it can be."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gateway.zone import console
from gateway.zone.folder import ZoneFolder


@pytest.fixture
def folder(tmp_path: Path) -> ZoneFolder:
    zone = ZoneFolder(tmp_path)
    zone.gateway.mkdir()
    (zone.gateway / "gateway.json").write_text(json.dumps({"auto_approve": True}))
    return zone


def settings(folder: ZoneFolder) -> dict[str, object]:
    return dict(json.loads((folder.gateway / "gateway.json").read_text()))


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def test_the_gateway_is_told_the_origin_and_keeps_its_other_settings(folder: ZoneFolder) -> None:
    with console.listen(folder, print) as listening:
        origin = console.name_origin(folder, listening)
        assert origin == f"http://localhost:{port_of(listening)}"
    assert settings(folder) == {"auto_approve": True, "console": origin}


def test_the_port_of_last_time_is_taken_again(folder: ZoneFolder) -> None:
    with socket.create_server((console.HOST, 0)) as free:
        port = port_of(free)
    (folder.gateway / "gateway.json").write_text(json.dumps({"console": f"http://localhost:{port}"}))
    for _ in range(2):
        with console.listen(folder, print) as listening:
            assert port_of(listening) == port


def test_where_it_is_in_use_another_is_taken_and_that_is_told(folder: ZoneFolder) -> None:
    said: list[str] = []
    with socket.create_server((console.HOST, 0)) as taken:
        port = port_of(taken)
        (folder.gateway / "gateway.json").write_text(json.dumps({"console": f"http://localhost:{port}"}))
        with console.listen(folder, said.append) as listening:
            assert port_of(listening) != port
            console.name_origin(folder, listening)
    assert [str(port) in each for each in said] == [True]
    assert settings(folder)["console"] != f"http://localhost:{port}"


@pytest.mark.parametrize("written", ["", "nowhere", "http://localhost", "http://localhost:99999", "http://[x"])
def test_what_names_no_port_is_passed_over(folder: ZoneFolder, written: str) -> None:
    (folder.gateway / "gateway.json").write_text(json.dumps({"console": written}))
    with console.listen(folder, print) as listening:
        assert port_of(listening) > 0
