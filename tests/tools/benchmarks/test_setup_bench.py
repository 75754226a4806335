"""The peers' environment: its lock files, and tools/setup_bench.sh, run with an interpreter that only pretends."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = ROOT / "requirements"
MINORS = ("3.10", "3.11", "3.12")
PRETENDER = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in
*base_prefix*) echo "{minor} {minor}.7 {python}" ;;
*"version_info[:2])"*) echo "{minor}" ;;
"-m venv"*) mkdir -p .venv-bench/bin && cp "{python}" .venv-bench/bin/python ;;
*bench-torch.in*) exit {torch_fails} ;;
esac
"""


def pins(minor: str) -> dict[str, str]:
    text = (REQUIREMENTS / f"bench-python{minor}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script and the locks; call it with a Python's minor version to run the script."""
    (tmp_path / "tools").mkdir()
    for name in ("setup.sh", "setup_bench.sh"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    shutil.copytree(REQUIREMENTS, tmp_path / "requirements")

    def run(minor: str, torch_fails: int = 0) -> subprocess.CompletedProcess:
        python = tmp_path / f"python{minor}"
        values = {"minor": minor, "python": python, "log": tmp_path / "log", "torch_fails": torch_fails}
        python.write_text(PRETENDER.format(**values))
        python.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": str(python)}
        command = ["sh", str(tmp_path / "tools" / "setup_bench.sh")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    run.folder = tmp_path
    run.log = (tmp_path / "log").read_text
    return run


@pytest.mark.parametrize("minor", MINORS)
def test_lock_pins_every_engine_within_its_bounds(minor):
    lines = (line.split("#")[0].strip() for line in (REQUIREMENTS / "bench.in").read_text().splitlines())
    found = pins(minor)
    for requirement in (Requirement(line) for line in lines if line):
        assert requirement.specifier.contains(found[requirement.name]), requirement
    assert not {"torch", "torchvision", "opencv-python"} & set(found)


def test_lock_is_installed_with_hashes_and_torch_after_it(checkout):
    done = checkout("3.11")
    assert done.returncode == 0, done.stderr
    calls = [line for line in checkout.log().splitlines() if line.startswith("-m pip install -qq --no-deps")]
    assert "--require-hashes -r requirements/bench-python3.11.txt" in calls[0]
    assert "https://download.pytorch.org/whl/cpu" in calls[1]
    assert "requirements/bench-torch.in" in calls[1]


def test_second_setup_installs_nothing(checkout):
    checkout("3.11")
    before = checkout.log().count("--require-hashes")
    assert "up to date" in checkout("3.11").stdout
    assert checkout.log().count("--require-hashes") == before == 1


def test_torch_that_cannot_be_had_names_the_other_index_and_is_tried_again(checkout):
    done = checkout("3.11", torch_fails=1)
    assert done.returncode == 2
    assert "TORCH_INDEX=" in done.stderr
    assert not (checkout.folder / ".venv-bench" / "installed.txt").exists()
    assert checkout("3.11").returncode == 0


def test_python_without_wheels_of_the_engines_is_refused(checkout):
    done = checkout("3.9")
    assert done.returncode == 2
    assert "no wheels for Python 3.9" in done.stderr
    assert "make bench-setup PYTHON=python3.11" in done.stderr
