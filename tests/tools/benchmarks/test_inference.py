"""The whole way of a measurement on a small network, with ONNX Runtime from the project's own environment."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import ConfigError
from tools.benchmarks import inference
from tools.benchmarks.command import build_parser, main
from tools.benchmarks.inference import Row
from tools.benchmarks.inference_report import best_ratios, make_report
from tools.benchmarks.prepared import Prepared
from tools.benchmarks.settings import Settings

QUICK = ["--rounds", "2", "--seconds", "0.05", "--classes", "3", "--threads", "1"]


def test_ours_and_a_peer_are_measured_told_and_written(own_python, tmp_path, capsys):
    flags = ["--networks", "ssd7_100", "--peers", "onnxruntime", "--batch", "2", "--out", str(tmp_path)]
    assert main([*flags, *QUICK, "--bench-python", own_python]) == 0
    said = capsys.readouterr().out
    assert "of the best peer, onnxruntime" in said
    values = json.loads((tmp_path / "benchmark.json").read_text())
    rows = {row["engine"]: row for row in values["rows"]}
    assert set(rows) == {"ours", "ours, detect()", "onnxruntime"}
    peer = rows["onnxruntime"]
    assert peer["agrees"]
    assert peer["difference"] < 1e-3
    assert len(peer["rounds"]) == len(rows["ours"]["rounds"]) == 2
    assert peer["seconds"] > peer["tail_seconds"] > 0
    own = np.divide(peer["rounds"], rows["ours"]["rounds"])
    assert peer["ratio"]["median"] == pytest.approx(np.median(own))
    assert all(row["peak"] > 1e7 for row in rows.values())
    assert values["versions"]["onnxruntime"]["onnxruntime"]
    assert values["networks"][0]["detections"] > 0
    assert "| ssd7_100 | float32 | 2 | onnxruntime |" in (tmp_path / "benchmark.md").read_text()
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def row(engine: str, seconds: list[float], **values) -> Row:
    return Row("net_300", "float32", 1, engine, rounds=seconds, **values)


def test_outputs_that_differ_are_told_and_counted_as_a_failure(tmp_path):
    prepared = Prepared({"name": "net_300"}, tmp_path, {})
    for engine, value in (("ours", 1.0), ("opencv", 1.0 + 3e-3)):
        (tmp_path / f"raw-{engine}").mkdir()
        np.save(tmp_path / f"raw-{engine}" / "loc_0.npy", np.array([value]))
    peer = row("opencv", [2.0])
    inference._hold(peer, prepared)
    assert peer.agrees is False
    assert peer.difference == pytest.approx(3e-3)
    assert inference.failed([peer])
    assert not inference.failed([row("opencv", [2.0], agrees=True)])
    settings = Settings(networks=("net_300",))
    report, _ = make_report(settings, [row("ours", [1.0]), peer], {}, [])
    assert "Raw outputs differ from ours by more than 0.001: net_300 float32 batch 1 opencv." in report.notes
    assert "3.0e-03 !" in report.text()


def test_engine_that_fails_has_a_row_that_says_why():
    broken = row("torch", [], error="torch: RuntimeError: no such layer")
    assert inference.failed([broken])
    report, picture = make_report(Settings(networks=("net_300",)), [row("ours", [1.0]), broken], {}, [])
    assert "net_300 float32 batch 1 torch failed: torch: RuntimeError: no such layer" in report.notes
    assert "failed" in report.markdown()
    assert picture.startswith(b"\x89PNG")


def test_rounds_that_differ_too_much_are_called_noisy():
    ratio = {"median": 1.5, "low": 1.0, "high": 2.0}
    rows = [row("ours", [1.0]), row("opencv", [1.5], ratio=ratio, noisy=True)]
    report, _ = make_report(Settings(networks=("net_300",)), rows, {}, [])
    assert any("too noisy to tell for net_300 float32 batch 1 (opencv)" in note for note in report.notes)
    assert best_ratios(rows) == ["net_300 float32 batch 1: 1.50 of the best peer, opencv (noisy)"]


@pytest.mark.parametrize(("load", "told"), [(0.05, False), (0.5, True), (-1.0, False)])
def test_machine_that_does_other_work_is_called_noisy(load, told):
    report, _ = make_report(Settings(networks=("net_300",)), [row("ours", [1.0], others=[load])], {}, [])
    assert any("the machine was too noisy to tell" in note for note in report.notes) == told


def test_workers_that_do_not_sleep_are_told():
    rows = [row("ours", [1.0], idle=[0.0, 0.8])]
    report, _ = make_report(Settings(networks=("net_300",)), rows, {}, [])
    assert any(
        note.startswith("Waiting workers did not sleep: they took up to 0.80") for note in report.notes
    )


def test_best_peer_is_the_one_against_which_ours_gains_least():
    fast = row("openvino", [1.1], ratio={"median": 1.1, "low": 1.1, "high": 1.1})
    slow = row("torch", [3.0], ratio={"median": 3.0, "low": 3.0, "high": 3.0})
    assert best_ratios([row("ours", [1.0]), slow, fast]) == [
        "net_300 float32 batch 1: 1.10 of the best peer, openvino"
    ]


def test_tail_of_ours_is_inside_its_time_and_a_peer_is_charged_for_it_too():
    from tools.benchmarks.rounds import Measured

    rows = {name: row(name, []) for name in ("ours", "openvino")}
    measured = {
        "ours": Measured([0.010, 0.010], [0.002, 0.002], [0.0] * 2, [0.0] * 2),
        "openvino": Measured([0.010, 0.010], [0.002, 0.004], [0.0] * 2, [0.0] * 2),
    }
    inference._fill(rows, measured, 1.2)
    assert rows["ours"].seconds == pytest.approx(0.010)
    assert rows["ours"].network_seconds == pytest.approx(0.008)
    assert rows["openvino"].rounds == pytest.approx([0.012, 0.014])
    assert rows["openvino"].ratio["median"] == pytest.approx(1.3)
    assert not rows["openvino"].noisy


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--peers", "onnxruntim"], ["--peers onnxruntim", "did you mean onnxruntime?"]),
        (["--networks", "mobilenett_300"], ["mobilenett", "did you mean"]),
        (["--precision", "int4"], ["--precision int4", "int8"]),
        (["--batch", "0"], ["--batch 0", "1 or more"]),
        (["--sweep", "bach"], ["--sweep bach", "did you mean batch?"]),
        (["--sweep", "batch", "--training"], ["leave --training and --input out"]),
        (["--training", "--peers", "openvino"], ["--peers openvino", "give torch"]),
        (["--training", "--batch", "1,8"], ["--batch 1,8", "give one"]),
        (["--prefix", "x", "--networks", "ssd7"], ["give one of the two"]),
        (["--prefix", "x", "--precision", "int8"], ["give its records by --calib-path"]),
        (["--noise-limit", "1"], ["--noise-limit 1", "above 1"]),
        (["--peers", "openvino", "--bench-python", "/nowhere/python"], ["make bench-setup"]),
        (["--prefix", "/nowhere/ssd"], ["/nowhere/ssd", "--prefix"]),
    ],
)
def test_what_cannot_be_is_one_line_that_says_what_to_do(flags, words, capsys):
    assert main(flags) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    for word in words:
        assert word in said


def test_every_flag_of_the_training_loop_is_taken_with_its_default():
    from train.benchmark import build_parser as loop_parser

    mine = build_parser()
    for action in loop_parser()._actions:
        if action.dest not in ("help", "debug", "training", "input"):
            assert mine.get_default(action.dest) == action.default, action.dest
    assert mine.parse_args(["--training", "--input", "x.rec", "--network", "ssd7"]).network == "ssd7"


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ConfigError, match="nothing to measure"):
        Settings(networks=())
