"""The other modes on small work: training steps, sweeps, input; and the real peers where they are installed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.images import encode_jpeg
from dataset.record_io import frame_record, pack_record
from tools.benchmarks.command import main

QUICK = ["--rounds", "1", "--seconds", "0.05", "--classes", "3", "--threads", "1"]


@pytest.fixture
def records(tmp_path) -> str:
    """Twelve small pictures with an object each, packed."""
    rng, parts = np.random.default_rng(0), []
    for key in range(12):
        pixels = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
        label = np.array([2, 6, 0, 0.2, 0.2, 0.7, 0.8, 0], "<f4")  # header and one object
        parts.append(frame_record(pack_record(key, label.tobytes(), encode_jpeg(pixels))))
    path = tmp_path / "small.rec"
    path.write_bytes(b"".join(parts))
    return str(path)


def test_input_tells_every_recipe_and_the_cost_of_each_augmentation(records, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tools.benchmarks.input_speed._LEAST_SECONDS", 0.02)
    out = tmp_path / "out"
    flags = ["--input", records, "--rounds", "2", "--batch-size", "4", "--data-shape", "64", "--threads", "1"]
    assert main([*flags, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    seconds = json.loads((out / "input.json").read_text())["seconds"]
    for name in (
        "OpenCV, decode + resize",
        "none",
        "mirror alone",
        "colour alone",
        "crop alone",
        "recipe ssd",
    ):
        assert name in said
        assert len(seconds[name]) == 2
        assert min(seconds[name]) > 0
    assert (out / "input.png").read_bytes().startswith(b"\x89PNG")


def test_input_without_such_a_file_is_one_line(capsys):
    assert main(["--input", "/nowhere/x.rec"]) == 2
    assert "/nowhere/x.rec" in capsys.readouterr().err


def test_training_measures_a_step_of_ours(tmp_path, capsys):
    assert main(["--training", "--networks", "ssd7_100", "--batch", "2", *QUICK, "--out", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert (row["engine"], row["batch"]) == ("ours", 2)
    assert row["seconds"] > 0
    assert row["peak"] > 1e7
    assert "images/s" in capsys.readouterr().out


def test_training_step_of_torch_has_the_same_loss(bench_python, needs, tmp_path):
    needs(bench_python, "torch")
    flags = [
        "--training",
        "--networks",
        "ssd7_100",
        "--peers",
        "torch",
        "--batch",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main([*flags, *QUICK]) == 0
    ours, theirs = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert theirs["agrees"]
    assert theirs["difference"] < 1e-3
    assert ours["note"] == theirs["note"]


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino", "opencv", "torch"])
def test_peer_computes_what_ours_computes(bench_python, needs, tmp_path, peer):
    needs(bench_python, {"opencv": "cv2"}.get(peer, peer))
    flags = ["--networks", "ssd7_100", "--peers", peer, "--out", str(tmp_path), "--batch", "2"]
    assert main([*flags, *QUICK]) == 0
    row = json.loads((tmp_path / "benchmark.json").read_text())["rows"][-1]
    assert row["engine"] == peer
    assert row["difference"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["onnxruntime", "openvino"])
def test_peer_and_ours_run_in_int8(bench_python, needs, tmp_path, peer):
    needs(bench_python, peer)
    flags = ["--networks", "ssd7_100", "--peers", peer, "--out", str(tmp_path), "--precision", "int8"]
    assert main([*flags, *QUICK]) == 0
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert [row["engine"] for row in rows] == ["ours", "ours, detect()", peer]
    assert all(row["precision"] == "int8" and row["seconds"] > 0 for row in rows)
    assert rows[0]["difference"] > 0  # quantised it is, and not the float network again


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batch", "size", "classes", "anchors"])
def test_sweep_measures_each_place(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("tools.benchmarks.sweep.SWEEPS", {kind: {"size": (100, 128)}.get(kind, (2, 4))})
    assert main(["--sweep", kind, "--networks", "ssd7_100", *QUICK, "--out", str(tmp_path)]) == 0
    points = json.loads((tmp_path / f"sweep_{kind}.json").read_text())["points"]
    assert len(points) == 2
    assert all(min(point["rounds"]) > 0 and min(point["tails"]) > 0 for point in points)
    boxes = [point["about"]["anchors"] for point in points]
    assert (boxes[0] < boxes[1]) == (kind in ("size", "anchors"))
    assert [point["about"]["classes"] for point in points] == ([2, 4] if kind == "classes" else [3, 3])
    assert (tmp_path / f"sweep_{kind}.png").read_bytes().startswith(b"\x89PNG")
