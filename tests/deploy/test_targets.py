"""Where deploy.py writes: never over its source, never over what it did not write, and again after being killed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from common.errors import SSDError
from deploy.command import main
from model.card import card_path, read_card
from model.saved import load, params_path, symbol_path


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("given", ["ssd", "./ssd", "../model/ssd", "sub/../ssd"])
def test_prefix_without_a_folder_keeps_its_source(checkpoint, monkeypatch, given):
    """mxnet-ssd's deploy.py wrote over the training checkpoint here."""
    folder = Path(checkpoint).parent
    (folder / "sub").mkdir()
    before = contents(folder)
    monkeypatch.chdir(folder)
    assert run("--prefix", given) == 0
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"ssd-deploy-0003.params", "ssd-deploy-symbol.json", "ssd-deploy.json"}
    assert load("ssd-deploy").epoch == 3


@pytest.mark.parametrize(
    "out",
    ["ssd", "./ssd", "../model/ssd", "../link/ssd", "{folder}/ssd", "sub/../ssd", "../link/../model/ssd"],
)
def test_source_itself_is_refused_however_it_is_written(checkpoint, monkeypatch, capfd, out):
    folder = Path(checkpoint).parent
    (folder / "sub").mkdir()
    (folder.parent / "link").symlink_to(folder, target_is_directory=True)
    before = contents(folder)
    monkeypatch.chdir(folder)
    assert run("--prefix", "ssd", "--out", out.format(folder=folder)) == 2
    assert "is the source itself" in capfd.readouterr().err
    assert contents(folder) == before
    # a deployed detector is its own source too
    assert run("--prefix", "ssd") == 0
    before = contents(folder)
    assert run("--prefix", "ssd-deploy", "--out", "../link/ssd-deploy", "--force") == 2
    assert contents(folder) == before


def test_other_training_checkpoint_is_refused(checkpoint, tools, tmp_path, capfd):
    other = tools.write_checkpoint(tmp_path / "other" / "ssd", epoch=9)
    before = contents(tmp_path / "other")
    assert run("--prefix", checkpoint, "--out", other) == 2
    err = capfd.readouterr().err
    assert "was not written by this command" in err
    assert f"{other}.json" in err
    assert contents(tmp_path / "other") == before


@pytest.mark.parametrize("kept", ["ssd-symbol.json", "ssd-0009.params"])
def test_files_without_a_card_are_refused(checkpoint, tools, tmp_path, capfd, kept):
    other = Path(tools.write_checkpoint(tmp_path / "other" / "ssd", epoch=9))
    for path in other.parent.iterdir():
        if path.name != kept:
            path.unlink()
    before = contents(other.parent)
    assert run("--prefix", checkpoint, "--out", other) == 2
    assert kept in capfd.readouterr().err
    assert contents(other.parent) == before


@pytest.mark.parametrize("data", [b"{}", b"my notes", b""])
def test_file_that_is_no_card_is_refused(checkpoint, tmp_path, data):
    (tmp_path / "out.json").write_bytes(data)
    assert run("--prefix", checkpoint, "--out", tmp_path / "out") == 2
    assert contents(tmp_path) == {"out.json": data}


def test_out_whose_card_would_be_the_sources_graph_is_refused(checkpoint):
    before = contents(Path(checkpoint).parent)
    assert run("--prefix", checkpoint, "--out", f"{checkpoint}-symbol") == 2
    assert contents(Path(checkpoint).parent) == before


def test_folder_is_no_prefix(checkpoint, tmp_path, capfd):
    assert run("--prefix", checkpoint, "--out", f"{tmp_path}/") == 2
    assert "is a folder" in capfd.readouterr().err


def test_what_it_wrote_itself_is_replaced_whole(checkpoint, tools, tmp_path):
    out, other = tmp_path / "out" / "ssd", tools.write_checkpoint(tmp_path / "other", epoch=12)
    assert run("--prefix", checkpoint, "--out", out) == 0
    assert run("--prefix", other, "--out", out, "--keep-topk", 7) == 0
    assert set(contents(out.parent)) == {"ssd-0012.params", "ssd-symbol.json", "ssd.json"}
    assert read_card(out).source == {"prefix": "other", "epoch": 12}
    tools.assert_equal(tools.detect(out), tools.detect(other, keep_topk=7))


def test_parameters_that_somebody_put_beside_its_own_are_refused(checkpoint, tmp_path, capfd):
    out = tmp_path / "out" / "ssd"
    run("--prefix", checkpoint, "--out", out)
    shutil.copy(params_path(checkpoint, 3), params_path(out, 8))
    before = contents(out.parent)
    assert run("--prefix", checkpoint, "--out", out) == 2
    assert "ssd-0008.params: is there and was not written" in capfd.readouterr().err
    assert contents(out.parent) == before


def test_links_to_the_source_are_replaced_and_the_source_stays(checkpoint):
    folder = Path(checkpoint).parent
    run("--prefix", checkpoint)
    before = contents(folder)
    out = folder / "linked"
    for source, link in (
        (card_path(f"{checkpoint}-deploy"), card_path(out)),
        (symbol_path(f"{checkpoint}-deploy"), symbol_path(out)),
        (params_path(f"{checkpoint}-deploy", 3), params_path(out, 3)),
    ):
        link.symlink_to(source)
    assert run("--prefix", f"{checkpoint}-deploy", "--out", out, "--force") == 0
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert not os.path.islink(symbol_path(out))
    assert read_card(out).detection.force


def stop_at(patch, moment: str, out: Path, error: BaseException) -> None:
    """Raise an error in a function, or where the n-th finished file is about to get its place ("move N")."""
    real, moved = os.replace, []

    def stopped(*_):
        raise error

    def replace(source, target):
        if Path(target).parent == out.parent != Path(source).parent:
            moved.append(target)
            if len(moved) == int(moment.split()[1]):
                stopped()
        real(source, target)

    if moment.startswith("move"):
        patch.setattr(os, "replace", replace)
    else:
        patch.setattr(moment, stopped)


def assert_written(out: Path) -> None:
    assert {path.name for path in out.parent.iterdir()} == {"ssd-0003.params", "ssd-symbol.json", "ssd.json"}
    assert load(out).epoch == 3


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("moment", ["model.deployed.write_card", "move 1", "move 2", "move 3"])
def test_killed_at_any_moment_it_can_be_run_again(checkpoint, tools, monkeypatch, tmp_path, older, moment):
    out = tmp_path / "out" / "ssd"
    if older:
        run("--prefix", tools.write_checkpoint(tmp_path / "other", epoch=12), "--out", out)
    with monkeypatch.context() as patch:
        stop_at(patch, moment, out, KeyboardInterrupt())
        assert run("--prefix", checkpoint, "--out", out) == 130
    with pytest.raises(SSDError):
        load(out)
    assert run("--prefix", checkpoint, "--out", out) == 0
    assert_written(out)


@pytest.mark.parametrize(
    "moment", ["model.deployed.save", "model.saved.save_arrays", "model.saved.write_card"]
)
def test_disk_that_fills_up_leaves_the_older_deployment(
    checkpoint, tools, monkeypatch, tmp_path, capfd, moment
):
    out = tmp_path / "out" / "ssd"
    run("--prefix", tools.write_checkpoint(tmp_path / "other", epoch=12), "--out", out)
    before = contents(out.parent)
    capfd.readouterr()
    with monkeypatch.context() as patch:
        stop_at(patch, moment, out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        assert run("--prefix", checkpoint, "--out", out) == 2
    assert f"{out}: cannot be written (No space left on device)" in capfd.readouterr().err
    assert contents(out.parent) == before
    assert [path.name for path in out.parent.iterdir() if path.is_dir()] == []
    assert run("--prefix", checkpoint, "--out", out) == 0
    assert_written(out)
