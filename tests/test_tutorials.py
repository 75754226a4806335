"""The tutorials in docs/tutorials: each is run from its first line to its last, in a folder of its own.

Blocks of bash and Python are run one after the other as a reader would; what a block is said to print in a block of
text after it must be there, numbers aside; a link must lead somewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:[.:]\d+)*")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return (language, text) of each block of code."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like the checkout, into which a tutorial may write."""
    for entry in ROOT.iterdir():
        if entry.name not in ("data", "output", ".git"):
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def run(language: str, text: str, folder: Path) -> str:
    """Run a block and return what it printed; it must end with 0."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "COLUMNS": "100",
    }
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def without_numbers(line: str) -> str:
    return " ".join(NUMBER.sub("#", line).split())


def test_there_are_three_tutorials():
    assert [path.stem for path in TUTORIALS] == ["deployment", "fine-tuning", "your-own-data"]


@pytest.mark.tutorial
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_and_prints_what_it_says(path, checkout):
    printed, ran = "", 0
    for language, text in blocks(path):
        if language in ("bash", "python"):
            printed, ran = run(language, text, checkout), ran + 1
        elif language == "text":
            lines = {without_numbers(line) for line in printed.splitlines()}
            for line in text.splitlines():
                assert line == "..." or without_numbers(line) in lines, f"not printed: {line}\n{printed}"
        else:
            assert language == "console", f"{path}: a block of {language} is neither run nor shown"
    assert ran >= 4


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_figures_that_are_promised_are_checked(path):
    """Each tutorial holds itself to a figure: a Python block with an assertion."""
    assert any(language == "python" and "assert " in text for language, text in blocks(path))
