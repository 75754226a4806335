"""The README's commands: each names a script that is there and flags that it takes; its figures' table is whole."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest

PARSERS = {
    "train.py": "train.flags",
    "evaluate.py": "evaluate.command",
    "deploy.py": "deploy.command",
    "demo.py": "detect.command",
    "tools/prepare_dataset.py": "dataset.prepare_command",
    "tools/inspect_records.py": "dataset.inspect_command",
    "tools/benchmark.py": "tools.benchmarks.command",
    "tools/caffe_converter/convert_model.py": "tools.caffe_converter.model_command",
    "tools/import_gluoncv.py": "tools.gluoncv_importer.command",
    "tools/visualize_net.py": "train.visualize",
    "model/download.py": "model.download_command",
}


def commands(project_root):
    """Return the commands of the README's code blocks, each as its words."""
    text = (project_root / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("python ")]
    return [shlex.split(line)[1:] for line in lines]


def test_readme_shows_the_whole_chain(project_root):
    shown = {words[0] for words in commands(project_root)}
    assert shown >= {"train.py", "evaluate.py", "deploy.py", "demo.py", "tools/prepare_dataset.py"}


def test_each_command_is_there_and_takes_its_flags(project_root):
    for script, *flags in commands(project_root):
        assert (project_root / script).is_file(), script
        parser = importlib.import_module(PARSERS[script]).build_parser()
        parser.parse_args(flags)  # leaves with 2 where a flag is unknown or its value cannot be


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_documents_have_no_open_places(project_root, name):
    text = (project_root / name).read_text(encoding="utf-8")
    assert not re.findall(r"@[A-Z_]+@", text)
    assert "../shared/data" not in text
