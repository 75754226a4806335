"""The pictures of a run's folder: they are there, they are whole, and they hold what the table holds."""

import logging

import numpy as np
import pytest
from PIL import Image

from train.pictures import RunPictures, shrink, spread
from train.plots import column, draw_results


def test_folder_of_a_run_has_its_curves_batches_and_validation_pictures(trainer):
    assert trainer.new("run", "--end-epoch", "2", val=True) == 0
    folder = trainer.folder / "run"
    sizes = {path.name: Image.open(path).size for path in folder.glob("*.*g") if path.suffix != ".log"}
    assert set(sizes) == {"results.png", "batch-1.jpg", "batch-2.jpg", "batch-3.jpg"}
    assert sizes["batch-1.jpg"] == (2 * 96, 2 * 64)  # four images of the input's size
    pictures = sorted(path.name for path in (folder / "validation").iterdir())
    assert pictures == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    width, height = Image.open(folder / "validation" / "1.jpg").size
    assert (width, height) == (2 * 96 + 6, 64)


def test_a_run_without_validation_has_curves_and_batches(trainer):
    assert trainer.new("run", "--end-epoch", "1") == 0
    assert (trainer.folder / "run" / "results.png").exists()
    assert not (trainer.folder / "run" / "validation").exists()


def test_a_resumed_run_draws_the_whole_curve_and_no_first_batches(trainer, monkeypatch):
    drawn = []
    monkeypatch.setattr("train.pictures.draw_results", lambda path, rows, title: drawn.append(rows))
    assert trainer.new("run", "--end-epoch", "1") == 0
    (trainer.folder / "run" / "batch-1.jpg").unlink()
    assert trainer.resume("run", "--end-epoch", "3") == 0
    assert [row["epoch"] for row in drawn[-1]] == ["1", 2, 3]
    assert not (trainer.folder / "run" / "batch-1.jpg").exists()


def test_what_a_killed_run_left_half_written_is_cleared_away(trainer):
    assert trainer.new("run", "--end-epoch", "1", val=True) == 0
    folder = trainer.folder / "run"
    left = [folder / f".{name}.x.tmp" for name in ("results.png", "batch-2.jpg")]
    left.append(folder / "validation" / ".1.jpg.x.tmp")
    mine = folder / ".notes.x.tmp"
    for path in (*left, mine):
        path.write_bytes(b"half")
    assert trainer.resume("run", "--end-epoch", "2") == 0
    assert [path.exists() for path in (*left, mine)] == [False, False, False, True]


def test_a_disk_without_room_stops_the_pictures_and_not_the_run(trainer, monkeypatch, capsys):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.pictures.write_bytes", full)
    assert trainer.new("run", "--end-epoch", "1", val=True) == 0
    assert capsys.readouterr().out.count("not drawn any more") == 1
    assert trainer.card("run").last == 1


def test_drawing_that_would_take_too_long_waits_for_the_end(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("train.pictures.draw_results", lambda *arguments: calls.append(arguments))
    pictures = RunPictures(tmp_path / "results.csv", card=type("Card", (), {"network": "x"})())
    pictures._spent = 1000.0

    class Done:
        best, rows = False, ({"epoch": 1},)

    pictures.after_epoch(Done())
    assert not calls
    pictures.close()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(0, 4, []), (1, 4, [0]), (3, 4, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_pictures_are_spread_evenly(count, most, expected):
    assert spread(count, most) == expected


def test_large_pictures_shrink_and_small_ones_stay():
    assert shrink(np.zeros((1000, 2000, 3), np.uint8), 640).shape == (320, 640, 3)
    small = np.zeros((10, 20, 3), np.uint8)
    assert shrink(small, 640) is small


ROWS = [
    {"epoch": "1", "lr": "0.1", "cls_loss": "3", "loc_loss": "2", "mAP": ""},
    {
        "epoch": "2",
        "lr": "0.01",
        "cls_loss": "2",
        "loc_loss": "1",
        "mAP": "0.5",
        "AP_$x_": "0.5",
        "AP__y": "",
    },
]


def test_column_leaves_empty_places_out():
    assert column(ROWS, "mAP") == ([2], [0.5])
    assert column(ROWS, "none") == ([], [])


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS, ROWS[1:] * 30])
def test_curves_are_drawn_from_any_table(tmp_path, rows, caplog):
    with caplog.at_level(logging.WARNING):
        draw_results(tmp_path / "r.png", rows, "title $ _")
    image = np.asarray(Image.open(tmp_path / "r.png").convert("RGB"))
    assert image.shape[1] > 1000
    assert (image != 255).any(axis=2).mean() > 0.01
    assert not caplog.records
