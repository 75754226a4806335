"""A detector over packed records, and evaluate.py from flags to figures."""

from __future__ import annotations

import json

import pytest

from common.errors import RecordError
from common.mx import mx
from dataset.records import RecordDataset
from detect.detector import Detector
from evaluate.command import main
from evaluate.run import detect_records, evaluate_records


def run_evaluate(prefix, records, *flags):
    return main(["--prefix", str(prefix), "--rec-path", str(records), "--cpu", *map(str, flags)])


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_perfect_detector_has_map_one(toy, records, batch_size):
    with RecordDataset(records) as dataset:
        result = evaluate_records(Detector.from_saved(toy, context=mx.cpu()), dataset, batch_size=batch_size)
    assert result.mean == 1.0
    assert [entry.objects for entry in result.classes] == [2, 1, 3]
    assert result.images == 4


def test_what_is_found_in_records_is_what_is_found_in_their_files(toy, records):
    detector = Detector.from_saved(toy, context=mx.cpu())
    with RecordDataset(records) as dataset:
        found = detect_records(detector, dataset, batch_size=3)
        for index, detections in enumerate(found):
            (path,) = records.parent.rglob(dataset.name(index).rsplit("/", 1)[-1])
            again = detector.detect(path)
            assert again.as_records() == detections.as_records()


def test_blind_detector_has_map_zero_and_detector_of_swapped_classes_little(toy, records):
    detector = Detector.from_saved(toy, context=mx.cpu())
    with RecordDataset(records) as dataset:
        detector.set_params({**toy.arg_params, "classes_bias": mx.nd.array([50, 0, 0, 0])}, {})
        assert evaluate_records(detector, dataset).mean == 0.0
        swapped = toy.arg_params["classes_weight"].asnumpy()[[0, 2, 1, 3]]
        detector.set_params({**toy.arg_params, "classes_weight": mx.nd.array(swapped)}, {})
        assert evaluate_records(detector, dataset).mean == pytest.approx(1 / 3)


def test_records_of_other_class_order_are_refused(toy, toy_prefix, records_in_other_order, capsys):
    with RecordDataset(records_in_other_order) as dataset, pytest.raises(RecordError, match="another order"):
        evaluate_records(Detector.from_saved(toy, context=mx.cpu()), dataset)
    assert run_evaluate(toy_prefix, records_in_other_order) == 2
    assert "another order" in capsys.readouterr().err


def test_command_prints_a_table_and_writes_json(toy_prefix, records, tmp_path, capsys):
    path = tmp_path / "results" / "toy.json"
    assert run_evaluate(toy_prefix, records, "--save-json", path) == 0
    printed = capsys.readouterr().out
    assert "mAP 1.0000 (VOC area, IoU 0.5, 4 images)" in printed
    assert "images/s" in printed
    values = json.loads(path.read_text())
    assert (values["mAP"], values["epoch"], len(values["classes"])) == (1.0, 3, 3)


def test_place_that_cannot_be_written_is_told_before_the_work(toy_prefix, records, tmp_path, capsys):
    (tmp_path / "file").touch()
    for place, words in ((tmp_path, "is a folder"), (tmp_path / "file" / "a.json", "cannot be written")):
        assert run_evaluate(toy_prefix, records, "--save-json", place) == 2
        printed = capsys.readouterr()
        assert words in printed.err
        assert printed.out == ""


@pytest.mark.parametrize(
    ("flags", "metric"),
    [
        ([], "area"),
        (["--voc07"], "11 points"),
        (["--voc07", "False"], "area"),
        (["--metric", "voc07"], "11 points"),
    ],
)
def test_metric_is_the_area_unless_told(toy_prefix, records, capsys, flags, metric):
    assert run_evaluate(toy_prefix, records, *flags) == 0
    assert f"VOC {metric}" in capsys.readouterr().out


def test_threshold_above_all_scores_finds_nothing(toy_prefix, records, capsys):
    assert run_evaluate(toy_prefix, records, "--thresh", "0.9999") == 0
    assert "mAP 0.0000" in capsys.readouterr().out


def test_old_records_and_old_files_need_class_names(toy, toy_prefix, records, tmp_path, capsys):
    """Neither has a card or manifest: what they would say comes from flags."""
    for path in (
        tmp_path / "model" / "toy.json",
        records.with_suffix(".json"),
        records.with_suffix(".gt.json"),
    ):
        path.unlink(missing_ok=True)
    stated = ["--data-shape", "64", "--mean-r", "0", "--mean-g", "0", "--mean-b", "0"]
    assert run_evaluate(toy_prefix, records, *stated) == 2
    assert "--class-names" in capsys.readouterr().err
    assert run_evaluate(toy_prefix, records, *stated, "--class-names", "red,green,blue") == 0
    assert "red " in capsys.readouterr().out


def test_damaged_image_in_a_record_is_named(toy_prefix, records, capsys):
    data = bytearray(records.read_bytes())
    begin = data.find(b"\xff\xd8\xff", len(data) // 2)
    data[begin : begin + 400] = bytes(400)
    records.write_bytes(data)
    assert run_evaluate(toy_prefix, records) == 2
    assert "val.rec: changed since it was packed" in capsys.readouterr().err
    records.with_suffix(".json").unlink()  # without a manifest nothing tells before the image is decoded
    assert run_evaluate(toy_prefix, records) == 2
    assert "val.rec: record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-class", "20"], "--num-class 20: the model has 3 classes"),
        (["--overlap", "1.5"], "--overlap"),
        (["--epoch", "9"], "no epoch 9"),
        (["--network", "ssd7", "--class-names", "red,green"], "its card names the classes"),
        (["--batch-size", "0"], "--batch-size is 0, expected"),
    ],
)
def test_wrong_flags_are_one_line_and_exit_code_2(toy_prefix, records, capsys, flags, message):
    assert run_evaluate(toy_prefix, records, *flags) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "graph_executor" not in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_wrong_record_files_are_one_line(toy_prefix, tmp_path, capsys):
    for name, content in (("html.rec", b"<html>"), ("empty.rec", b"")):
        (tmp_path / name).write_bytes(content)
        assert run_evaluate(toy_prefix, tmp_path / name) == 2
        assert name in capsys.readouterr().err
    assert run_evaluate(toy_prefix, tmp_path / "none.rec") == 2
    assert "none.rec" in capsys.readouterr().err
