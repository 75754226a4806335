"""What a run does to its folder: two runs side by side, and files that are not its own."""

from __future__ import annotations

import shutil

from common.files import exclusive_lock, read_json


def test_two_runs_in_one_folder_keep_a_table_each(trainer, records):
    flags = (*trainer.data(val=False), "--batch-size", "12", "--end-epoch", "1")
    for name in ("a", "b"):
        assert trainer.run(*flags, "--prefix", str(trainer.folder / "both" / name)) == 0
    folder = trainer.folder / "both"
    assert {path.name for path in folder.glob("*.csv")} == {"results.csv", "b-results.csv"}
    assert trainer.run("--prefix", str(folder / "a"), "--resume", "--end-epoch", "2") == 0
    assert len((folder / "results.csv").read_text().splitlines()) == 3
    assert len((folder / "b-results.csv").read_text().splitlines()) == 2


def test_run_beside_one_that_has_only_begun_keeps_a_table_of_its_own(trainer, records):
    """Two runs started at once: the other one has its lock and no card yet."""
    folder = trainer.folder / "both"
    with exclusive_lock(folder / "a.lock", "a"):
        flags = (*trainer.data(val=False), "--batch-size", "12", "--end-epoch", "1")
        assert trainer.run(*flags, "--prefix", str(folder / "b")) == 0
    assert {path.name for path in folder.glob("*.csv")} == {"b-results.csv"}


def test_run_that_replaces_another_takes_its_table(trainer, records):
    folder = trainer.folder / "both"
    flags = (*trainer.data(val=False), "--batch-size", "12")
    for name in ("a", "b"):
        assert trainer.run(*flags, "--end-epoch", "1", "--prefix", str(folder / name)) == 0
    assert trainer.run(*flags, "--end-epoch", "2", "--prefix", str(folder / "a"), "--overwrite") == 0
    assert {path.name for path in folder.glob("*.csv")} == {"results.csv", "b-results.csv"}
    assert len((folder / "results.csv").read_text().splitlines()) == 3


def test_folder_of_the_users_with_the_name_of_the_copies_stays(trainer, records):
    folder = trainer.folder / "own"
    mine = folder / ".ssd.records"
    mine.mkdir(parents=True)
    (mine / "precious.txt").write_text("hi")
    flags = (*trainer.data(val=False), "--batch-size", "12", "--end-epoch", "1")
    assert trainer.run(*flags, "--prefix", str(folder / "ssd")) == 0
    assert [path.name for path in mine.iterdir()] == ["precious.txt"]


def test_records_that_changed_since_they_were_packed_are_refused(trainer, records, tmp_path, capsys):
    for path in records.train.parent.glob(records.train.stem + ".*"):
        shutil.copy(path, tmp_path / path.name)
    changed = tmp_path / records.train.name
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    code = trainer.run(
        "--cpu", "--network", "ssd7", "--train-path", str(changed), "--prefix", str(tmp_path / "x")
    )
    assert code == 2
    assert "changed since it was packed" in capsys.readouterr().err
    assert read_json(changed.with_suffix(".json"), "manifest", RuntimeError)["images"] > 0


def test_prefix_that_is_a_folder_is_refused(trainer, records, tmp_path, capsys):
    assert trainer.run(*trainer.data(val=False), "--prefix", f"{tmp_path}/") == 2
    assert "ends in a name" in capsys.readouterr().err
