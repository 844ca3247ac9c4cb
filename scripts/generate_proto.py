"""Generate the Python code of proto/ into a folder: `python scripts/generate_proto.py FOLDER`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def generate(target: Path) -> None:
    """Write messages, services and their type stubs below `target`; raises CalledProcessError."""
    scripts = Path(sysconfig.get_path("scripts"))
    sources = sorted((ROOT / "proto").glob("yingbi/api/v1/*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *plugins, *outputs, *map(str, sources)],
        check=True,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
