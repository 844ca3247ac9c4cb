"""The committed protobuf code is what the build makes of proto/, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("yingbi/api/v1")


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder that a generator writes, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if "_pb2" in path.name}


def test_the_committed_code_is_what_the_protocol_generates(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "generate_proto.py"), str(tmp_path)], check=True)
    generated, committed = content(tmp_path / PACKAGE), content(ROOT / "clients" / PACKAGE)
    assert sorted(generated) == sorted(committed)
    protocols = [path.stem for path in (ROOT / "proto" / PACKAGE).glob("*.proto")]
    assert len(generated) == 4 * len(protocols) > 0
    changed = [name for name in generated if generated[name] != committed[name]]
    assert changed == [], "run `make proto`"
