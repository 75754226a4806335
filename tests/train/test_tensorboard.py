"""--tensorboard: the event files hold what the run did, each step once, as TensorBoard's own reader finds them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.mx import mx
from evaluate.voc import ClassResult
from tests.train.test_event_files import event, record
from tests.train.test_full_disk import SmallDisk
from train.log_values import THRESHOLDS, curve_table, preformatted

CLASSES = ("square", "star", "triangle")  # those of the five that the validation scenes hold
BATCH_TAGS = ("cls_loss", "loc_loss", "lr", "images_per_second", "positives_per_image", "negatives_per_image")
CLOCK = ("images_per_second", "seconds", "waited_for_data")
BOARD = ("--tensorboard", "--frequent", "2")  # an epoch of three batches has a window of two, and one of one


def read_logs(folder: Path) -> dict:
    """Read event files in another process (mxboard and tensorboard do not go together in one)."""
    program = Path(__file__).with_name("read_logs.py")
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def logs_of(trainer, name: str) -> dict:
    return read_logs(trainer.folder / name / "logs")


def without_clock(logs: dict) -> dict:
    """What a run and its repetition must have in common: all but times and the texts (command and card)."""
    kept = {run: kinds for run, kinds in logs.items() if run != "about"}
    for kinds in kept.values():
        kinds["scalars"] = {
            tag: points for tag, points in kinds["scalars"].items() if tag.split("/")[-1] not in CLOCK
        }
    return kept


def all_steps(logs: dict) -> list[list[int]]:
    """The steps of every tag."""
    kinds = ("scalars", "images", "histograms", "tensors")
    return [
        [entry[0] for entry in entries]
        for run in logs.values()
        for kind in kinds
        for entries in run[kind].values()
    ]


def strictly_increasing(logs: dict) -> bool:
    steps = all_steps(logs)
    return bool(steps) and all(a < b for one in steps for a, b in zip(one, one[1:]))


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    """An unbroken run of four epochs with everything on; not to be changed."""
    from tests.train.conftest import Trainer

    session = Trainer(records, tmp_path_factory.mktemp("whole"))
    assert (
        session.new("run", "--end-epoch", "4", *BOARD, "--monitor", "4", "--pattern", "conv1", val=True) == 0
    )
    return session


@pytest.fixture(scope="module")
def whole_logs(whole) -> dict:
    return logs_of(whole, "run")


def test_every_tag_is_there_in_mxnet_ssds_folders(whole_logs):
    tags = {run: {tag for kind in kinds.values() for tag in kind} for run, kinds in whole_logs.items()}
    losses = {"epoch/cls_loss", "epoch/loc_loss"}
    monitored = {"weight/conv1_weight", "gradient/conv1_weight", "activation/conv1_output"}
    assert tags["train/scalar"] == {f"batch/{name}" for name in BATCH_TAGS}
    assert tags["train/epoch"] == losses | {
        f"epoch/{name}" for name in (*BATCH_TAGS, "seconds", "waited_for_data")
    } - {"epoch/epoch"}
    assert tags["val/scalar"] == {"mAP", *losses, *(f"AP/{name}" for name in CLASSES)}
    assert tags["val/roc"] == {f"PR/{name}" for name in CLASSES}
    assert tags["val/images"] == {f"pictures/{i} JPEGImages/val_{i:06d}.jpg" for i in range(4)}
    assert tags["about"] == {"command", "card", "records/train", "records/validation"}
    assert monitored <= tags["train/dist"]


def test_steps_are_batches_and_epochs_each_once(whole_logs):
    assert strictly_increasing(whole_logs)
    by_batch = whole_logs["train/scalar"]["scalars"]["batch/cls_loss"]
    assert [step for step, _ in by_batch] == [1, 2, 4, 5, 7, 8, 10, 11]
    assert [step for step, _ in whole_logs["val/scalar"]["scalars"]["mAP"]] == [1, 2, 3, 4]
    assert [step for step, *_ in whole_logs["train/dist"]["histograms"]["weight/conv1_weight"]] == [0, 4, 8]


def test_epochs_are_the_rows_of_results_csv(whole, whole_logs):
    rows = whole.rows("run")
    for tag, points in whole_logs["train/epoch"]["scalars"].items():
        assert points == [[int(r["epoch"]), np.float32(r[tag.split("/")[1]])] for r in rows], tag
    for tag, column in [("mAP", "mAP"), *((f"AP/{name}", f"AP_{name}") for name in CLASSES)]:
        points = whole_logs["val/scalar"]["scalars"][tag]
        assert points == [[int(r["epoch"]), np.float32(r[column])] for r in rows], tag
    for name in ("cls_loss", "loc_loss"):
        values = [value for _, value in whole_logs["val/scalar"]["scalars"][f"epoch/{name}"]]
        assert values == pytest.approx([float(row[f"val_{name}"]) for row in rows], abs=1e-5)
    card = whole.card("run")
    assert whole_logs["val/scalar"]["scalars"]["mAP"][-1] == [4, np.float32(card.epochs[card.last]["mAP"])]


def test_points_of_the_curves_are_means_that_make_up_the_epochs(whole, whole_logs):
    for name in ("cls_loss", "loc_loss"):
        points = [value for _, value in whole_logs["train/scalar"]["scalars"][f"batch/{name}"]]
        means = [(2 * a + b) / 3 for a, b in zip(points[::2], points[1::2])]
        assert means == pytest.approx([float(row[name]) for row in whole.rows("run")], abs=1e-4)


def test_texts_tell_command_card_and_manifests(whole, whole_logs, records):
    texts = {tag: entries[0][1] for tag, entries in whole_logs["about"]["tensors"].items()}
    assert set(whole_logs["about"]["plugins"].values()) == {"text"}
    assert texts["command"].startswith("    train.py --network ssd7")
    assert "--tensorboard --frequent 2" in texts["command"]
    assert json.loads(texts["card"])["training"]["data_sha256"] == whole.card("run").training["data_sha256"]
    for tag, path in (("train", records.train), ("validation", records.val)):
        name, manifest = texts[f"records/{tag}"].split("\n", 1)
        assert name.strip() == str(path)
        assert json.loads(manifest) == json.loads(path.with_suffix(".json").read_text())


def test_run_ends_in_the_same_bytes_as_one_without(trainer, whole):
    assert trainer.new("plain", "--end-epoch", "4", val=True) == 0
    assert trainer.bytes("plain") == whole.bytes("run")


def test_two_and_two_epochs_have_the_curves_of_four(trainer, whole_logs):
    flags = (*BOARD, "--monitor", "4", "--pattern", "conv1")
    assert trainer.new("run", "--end-epoch", "2", *flags, val=True) == 0
    assert trainer.resume("run", "--end-epoch", "4", *flags) == 0
    logs = logs_of(trainer, "run")
    assert strictly_increasing(logs)
    assert [step for step, _ in logs["about"]["tensors"]["command"]] == [0, 6]
    assert without_clock(logs) == without_clock(whole_logs)


@pytest.mark.parametrize("update", [3, 4])
def test_run_stopped_inside_an_epoch_has_the_curves_of_an_unbroken_one(
    trainer, signal_at, whole_logs, update
):
    """Update 3 cuts a window of two batches in half; update 4 is its end."""
    flags = (*BOARD, "--monitor", "4", "--pattern", "conv1")
    signal_at(update)
    assert trainer.new("run", "--end-epoch", "4", *flags, val=True) == 130
    halfway = logs_of(trainer, "run")["train/scalar"]["scalars"]["batch/cls_loss"]
    assert [step for step, _ in halfway] == [1, 2, update]
    assert trainer.resume("run") == 0  # the card knows how it was watched
    logs = logs_of(trainer, "run")
    assert strictly_increasing(logs)
    assert without_clock(logs) == without_clock(whole_logs)


def test_what_a_killed_run_left_is_dropped(trainer, whole_logs):
    flags = (*BOARD, "--monitor", "4", "--pattern", "conv1")
    assert trainer.new("run", "--end-epoch", "2", *flags, val=True) == 0
    logs = trainer.folder / "run" / "logs"
    for folder, step in (("train/scalar", 7), ("train/dist", 8), ("val/scalar", 3), ("val/roc", 3)):
        (path,) = (logs / folder).iterdir()
        with path.open("ab") as stream:  # a step that the checkpoint does not have, and half of one more
            stream.write(record(event(step, b"\x0a\x08\x0a\x01x\x15\x00\x00\x00\x00")))
            stream.write(record(event(step + 1))[:-5])
    assert trainer.resume("run", "--end-epoch", "4", *flags) == 0
    logs = logs_of(trainer, "run")
    assert strictly_increasing(logs)
    assert without_clock(logs) == without_clock(whole_logs)


def test_resume_from_an_earlier_epoch_drops_the_later_ones(trainer, signal_at, whole_logs):
    signal_at(7)
    flags = (*BOARD, "--monitor", "4", "--pattern", "conv1", "--checkpoint-period", "1")
    assert trainer.new("run", "--end-epoch", "4", *flags, val=True) == 130
    assert trainer.resume("run", "--resume", "1", "--overwrite", *flags) == 0
    assert without_clock(logs_of(trainer, "run")) == without_clock(whole_logs)


def test_resumed_run_logs_without_being_told_again(trainer):
    assert trainer.new("run", "--end-epoch", "1", *BOARD) == 0
    assert trainer.resume("run", "--end-epoch", "2") == 0
    assert [step for step, _ in logs_of(trainer, "run")["train/epoch"]["scalars"]["epoch/lr"]] == [1, 2]


def test_epochs_trained_without_logs_leave_a_gap_and_no_double(trainer):
    """The second run does not log, and goes back behind what the first one logged."""
    assert trainer.new("run", "--end-epoch", "3", "--checkpoint-period", "1", *BOARD) == 0
    flags = ("--resume", "1", "--overwrite", "--end-epoch", "2", "--no-tensorboard")
    assert trainer.resume("run", *flags) == 0
    assert trainer.resume("run", "--end-epoch", "3", *BOARD) == 0
    logs = logs_of(trainer, "run")
    assert [step for step, _ in logs["train/epoch"]["scalars"]["epoch/lr"]] == [1, 3]
    assert [step for step, _ in logs["train/scalar"]["scalars"]["batch/lr"]] == [1, 2, 7, 8]


def test_curves_go_on_where_the_batch_size_changes(trainer):
    assert trainer.new("run", "--end-epoch", "2", *BOARD) == 0  # 3 batches an epoch
    assert trainer.resume("run", "--end-epoch", "3", "--batch-size", "2", *BOARD) == 0  # 6
    assert trainer.resume("run", "--end-epoch", "4", "--batch-size", "12", *BOARD) == 0  # 1
    steps = [step for step, _ in logs_of(trainer, "run")["train/scalar"]["scalars"]["batch/lr"]]
    assert steps == [1, 2, 4, 5, 7, 9, 11, 12]


def test_new_run_with_overwrite_has_fresh_logs_and_leaves_other_files(trainer, capsys):
    assert trainer.new("run", "--end-epoch", "2", *BOARD) == 0
    folder = trainer.folder / "run" / "logs" / "train" / "scalar"
    foreign = folder / "events.out.tfevents.1500000000.host"
    (folder / "notes.txt").write_text("mine")
    foreign.write_bytes(b"mine")
    assert trainer.new("run", "--end-epoch", "1", "--overwrite", *BOARD) == 0
    assert "of another program" in capsys.readouterr().out
    assert ((folder / "notes.txt").read_text(), foreign.read_bytes()) == ("mine", b"mine")
    foreign.unlink()
    logs = logs_of(trainer, "run")
    assert [step for step, _ in logs["train/scalar"]["scalars"]["batch/lr"]] == [1, 2]
    assert [step for step, _ in logs["about"]["tensors"]["command"]] == [0]


def test_two_runs_in_one_folder_do_not_mix(trainer):
    for name in ("a", "b"):
        flags = ("--prefix", str(trainer.folder / "both" / name), "--end-epoch", "1", *BOARD)
        assert trainer.run(*trainer.data(), *flags) == 0
    flags = ("--prefix", str(trainer.folder / "both" / "b"), "--resume", "--cpu", "--end-epoch", "2", *BOARD)
    assert trainer.run(*flags) == 0
    logs = read_logs(trainer.folder / "both" / "logs")
    assert {"train/scalar", "b/train/scalar"} <= set(logs)
    assert [step for step, _ in logs["train/epoch"]["scalars"]["epoch/lr"]] == [1]
    assert [step for step, _ in logs["b/train/epoch"]["scalars"]["epoch/lr"]] == [1, 2]


def test_old_spelling_works(trainer):
    assert trainer.new("off", "--end-epoch", "1", "--tensorboard", "False") == 0
    assert not (trainer.folder / "off" / "logs").exists()
    assert trainer.new("on", "--end-epoch", "1", "--tensorboard", "True") == 0
    assert (trainer.folder / "on" / "logs" / "train" / "scalar").is_dir()


def test_without_the_flag_nothing_of_it_is_imported(trainer, project_root):
    program = (
        "import sys; from train.command import main; code = main(sys.argv[1:]);"
        "print(code, [n for n in sys.modules if n.startswith(('mxboard', 'tensorboard', 'train.tensorboard'))])"
    )
    for flags, expected in (((), "0 []"), (("--tensorboard",), "'mxboard'")):
        name = f"run{len(flags)}"
        command = [sys.executable, "-c", program, *trainer.data(), "--prefix", trainer.prefix(name)]
        done = subprocess.run(
            [*command, "--end-epoch", "1", "--batch-size", "12", *flags],
            capture_output=True, text=True, check=False, cwd=project_root,
        )  # fmt: skip
        assert expected in done.stdout.splitlines()[-1], done.stderr


def test_folder_that_cannot_be_written_stops_the_run_before_anything_is_replaced(trainer, trained, capsys):
    before = trainer.bytes("run")
    (trainer.folder / "run" / "logs").write_text("a file")
    capsys.readouterr()
    assert trainer.new("run", "--end-epoch", "1", "--overwrite", "--tensorboard") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--tensorboard: {trainer.folder / 'run' / 'logs'}: cannot be written" in error
    assert trainer.bytes("run") == before


def test_mxboard_that_is_missing_is_told_with_the_command_that_brings_it(trainer, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mxboard.writer", None)
    monkeypatch.setitem(sys.modules, "mxboard", None)
    assert trainer.new("run", "--end-epoch", "1", "--tensorboard") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install" in error
    assert not (trainer.folder / "run" / "ssd.json").exists()


def test_disk_that_fills_up_ends_the_logs_and_not_the_training(
    trainer, tmp_path, monkeypatch, capsys, recwarn
):
    """The logs lie on a disk of their own, full from the second epoch on; the files take the rest."""
    disk = SmallDisk(tmp_path / "disk")
    disk.folder.mkdir()
    disk.mount("512k")
    (trainer.folder / "run").mkdir()
    (trainer.folder / "run" / "logs").symlink_to(disk.folder)
    from train.devices import DeviceGroup

    update, calls = DeviceGroup.update, iter(range(100))

    def fill(self, *args):
        update(self, *args)
        if next(calls) == 3:
            with open(disk.folder / "filler", "wb", buffering=0) as stream:
                while stream.write(bytes(4096)) == 4096:
                    pass

    def fill_quietly(self, *args):
        try:
            fill(self, *args)
        except OSError:
            pass

    monkeypatch.setattr(DeviceGroup, "update", fill_quietly)
    try:
        assert trainer.new("run", "--end-epoch", "4", *BOARD, val=True) == 0
        out, err = capsys.readouterr()
        assert out.count("the logs end here, training goes on") == 1
        assert "No space left" in out
        assert err == ""
        assert trainer.card("run").last == 4
        assert not [w for w in recwarn if "unraisable" in str(w.category).lower()]
        (disk.folder / "filler").unlink()
        monkeypatch.undo()
        assert trainer.resume("run", "--end-epoch", "5", *BOARD) == 0
        logs = logs_of(trainer, "run")
        assert strictly_increasing(logs)
        assert [step for step, _ in logs["train/epoch"]["scalars"]["epoch/lr"]][-1] == 5
    finally:
        subprocess.run(["umount", "-l", disk.folder], capture_output=True, check=False)


def test_run_that_breaks_closes_its_files(trainer, monkeypatch):
    from train.devices import DeviceGroup

    original, calls = DeviceGroup.forward_backward, iter(range(100))

    def broken(self, inputs):
        if next(calls) == 4:
            raise RuntimeError("the machine is on fire")
        return original(self, inputs)

    monkeypatch.setattr(DeviceGroup, "forward_backward", broken)
    with pytest.raises(RuntimeError, match="fire"):
        trainer.new("run", "--end-epoch", "4", *BOARD)
    logs = logs_of(trainer, "run")
    assert [step for step, _ in logs["train/scalar"]["scalars"]["batch/lr"]] == [1, 2, 3]
    mine = str(trainer.folder)
    assert not [
        p
        for p in Path("/proc/self/fd").iterdir()
        if mine in str(p.resolve()) and "tfevents" in str(p.resolve())
    ]


def test_curve_counts_the_objects_that_nothing_found():
    """Three detections, two right, of five objects."""
    result = ClassResult(
        "cat",
        0.3,
        5,
        0,
        0,
        3,
        np.float32([0.9, 0.6, 0.25]),
        np.array([1, 0.5, 2 / 3]),
        np.array([0.2, 0.2, 0.4]),
    )
    table = curve_table(result)
    assert table.shape == (6, THRESHOLDS)
    columns = {
        threshold: table[:, round(threshold * 100)].tolist()
        for threshold in (0.0, 0.25, 0.26, 0.6, 0.61, 0.91)
    }
    assert columns == {
        0.0: [2, 1, 0, 3, 2 / 3, 0.4],
        0.25: [2, 1, 0, 3, 2 / 3, 0.4],
        0.26: [1, 1, 0, 4, 0.5, 0.2],
        0.6: [1, 1, 0, 4, 0.5, 0.2],
        0.61: [1, 0, 1, 4, 1, 0.2],
        0.91: [0, 0, 1, 5, 0, 0],
    }


def test_class_without_detections_has_a_recall_of_nothing():
    empty = np.zeros(0)
    table = curve_table(ClassResult("cat", 0.0, 7, 0, 0, 0, empty.astype("f"), empty, empty))
    assert table.tolist() == [[0] * THRESHOLDS] * 3 + [[7] * THRESHOLDS] + [[0] * THRESHOLDS] * 2


def test_text_is_shown_as_it_stands():
    assert preformatted("a\n```\n<script>") == "    a\n    ```\n    <script>"


def test_any_class_name_is_a_tag_of_its_own(tmp_path):
    from train.log_folder import LogFolder
    from train.tensorboard import Board

    names = ["a b", "a_b", "Ä/ö", "<script>alert(1)</script>", "猫", "\ud800", " ", "/x"]
    board = Board(LogFolder(tmp_path), ["val/scalar"])
    board.scalars("val/scalar", {f"AP/{name}": index for index, name in enumerate(names)}, 1)
    board.close()
    found = read_logs(tmp_path)["val/scalar"]["scalars"]
    expected = {
        f"AP/{name}".encode("utf-8", "backslashreplace").decode(): index for index, name in enumerate(names)
    }
    assert {tag: points[0][1] for tag, points in found.items()} == expected


def test_histogram_holds_what_is_finite_and_samples_what_is_large(tmp_path):
    from train.log_folder import LogFolder
    from train.tensorboard import Board

    board = Board(LogFolder(tmp_path), ["train/dist"])
    arrays = {
        "small": mx.nd.array([1.0, np.nan, -2.0, np.inf]),
        "none": mx.nd.array([np.nan]),
        "large": mx.nd.arange(1_000_000).reshape((1000, 1000)),
        "constant": mx.nd.ones((2, 3)),
    }
    for tag, array in arrays.items():
        board.tell(tag, board.measure(array), 5)
    board.close()
    found = read_logs(tmp_path)["train/dist"]["histograms"]
    assert found["small"] == [[5, 2, -2, 1, -1, 2]]
    assert found["constant"] == [[5, 6, 1, 1, 6, 6]]
    assert "none" not in found
    _, count, least, greatest, total, in_buckets = found["large"][0]
    assert 50_000 < count == in_buckets < 70_000
    assert (least, greatest > 999_900) == (0, True)
    assert total / count == pytest.approx(500_000, rel=1e-3)
