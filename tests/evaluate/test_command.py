"""evaluate.py from flags to figures and files: live and from results files, every kind of model, every metric."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common.mx import mx
from common.structures import Sample
from dataset.annotations import AnnotationSet
from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.records import RecordDataset
from deploy.command import main as deploy
from detect.detector import Detector
from evaluate.command import build_parser, main
from evaluate.flags import metric_of
from evaluate.results import coco_results
from evaluate.run import find
from model.saved import save

IMAGE_IDS, CATEGORY_IDS = (42, 7, 1000, 8), (18, 3, 44)


def run_evaluate(records, *flags):
    return main(["--rec-path", str(records), *map(str, flags)])


def figures(records, path, *flags) -> dict:
    """Run the command and return the figures that it saves, without those of the run."""
    assert run_evaluate(records, *flags, "--save-json", path) == 0
    values = json.loads(path.read_text())
    for key in ("model", "epoch", "records", "seconds", "results"):
        values.pop(key, None)
    return values


@pytest.fixture
def off(toy, tmp_path) -> str:
    """The toy with every box a little off, so that what it finds is neither all right nor all wrong.

    Its pixels are not divided, as mxnet-ssd's are not: files without a card cannot say otherwise.
    """
    changed = {
        "boxes_bias": mx.nd.array([1.6, 0.4, 0.2, 0.0]),
        "classes_weight": toy.arg_params["classes_weight"] / 255,
    }
    card = dataclasses.replace(toy.card, std=(1.0, 1.0, 1.0))
    save(tmp_path / "model" / "off", 3, toy.symbol, ({**toy.arg_params, **changed}, {}), card)
    return str(tmp_path / "model" / "off")


@pytest.fixture
def coco_records(records, tmp_path):
    """The records of the fixture with ids of their own, as of a COCO data set."""
    with RecordDataset(records) as dataset:
        samples = []
        for index, number in enumerate(IMAGE_IDS):
            truth = dataset.truth(index)
            (path,) = records.parent.rglob(f"{truth.image_id}.jpg")
            crowd = np.arange(len(truth.boxes)) == 5
            samples.append(
                Sample(
                    path, truth.size, truth.boxes, truth.class_ids, truth.difficult, crowd, image_id=number
                )
            )
        names = dataset.class_names
    annotations = AnnotationSet(samples, names, [], category_ids=CATEGORY_IDS)
    pack(annotations, tmp_path / "coco" / "small", made_by={"set": "val2017"})
    return tmp_path / "coco" / "small.rec"


@pytest.mark.parametrize("metric", ["voc", "voc07", "coco"])
@pytest.mark.parametrize("name", ["found.json", "folder"])
def test_saved_results_score_as_the_live_ones_to_the_last_digit(
    off, coco_records, tmp_path, metric, name, capsys
):
    choice = ("--metric", metric, "--overlap", "0.75")
    live = figures(
        coco_records,
        tmp_path / "a.json",
        "--prefix",
        off,
        "--cpu",
        *choice,
        "--save-results",
        tmp_path / name,
    )
    table = capsys.readouterr().out.splitlines()[:5]
    again = figures(coco_records, tmp_path / "b.json", "--from-results", tmp_path / name, *choice)
    assert again == live
    assert 0 < live["mAP"] < 1
    assert capsys.readouterr().out.splitlines()[:5] == table


def test_results_carry_the_data_sets_own_ids(off, coco_records, tmp_path):
    places = (tmp_path / "found.json", tmp_path / "folder")
    flags = [flag for place in places for flag in ("--save-results", place)]
    assert run_evaluate(coco_records, "--prefix", off, "--cpu", *flags) == 0
    entries = json.loads(places[0].read_text())
    assert {entry["image_id"] for entry in entries} <= set(IMAGE_IDS)
    assert {entry["category_id"] for entry in entries} == set(CATEGORY_IDS)
    assert sorted(path.name for path in places[1].iterdir()) == [
        f"comp4_det_val2017_{name}.txt" for name in ("blue", "green", "red")
    ]
    detector = Detector(off, context=mx.cpu())
    with RecordDataset(coco_records) as dataset:
        assert coco_results(find(detector, dataset)) == entries


def test_coco_metric_is_what_pycocotools_makes_of_the_files(off, coco_records, tmp_path, capsys):
    flags = ("--prefix", off, "--cpu", "--metric", "coco", "--save-results", tmp_path / "found.json")
    values = figures(coco_records, tmp_path / "a.json", *flags)
    printed = capsys.readouterr().out
    truth = COCO(str(coco_records.with_suffix(".gt.json")))
    measure = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    measure.evaluate()
    measure.accumulate()
    measure.summarize()
    for value, wanted in zip(values["coco"]["stats"].values(), measure.stats):
        assert value == (None if wanted == -1 else pytest.approx(wanted, abs=1e-12))
    assert values["mAP"] == values["coco"]["stats"]["AP"]
    assert f"area=   all | maxDets=100 ] = {measure.stats[0]:.4f}" in printed


def test_every_kind_of_model_gives_the_same_figures(off, records, tmp_path):
    """A checkpoint, a deployed graph, ONNX, and files without a card as mxnet-ssd's are."""
    expected = figures(records, tmp_path / "a.json", "--prefix", off, "--cpu", "--metric", "coco")
    assert deploy(["--prefix", off]) == 0
    models = [(f"{off}-deploy",)]
    if pytest.importorskip("onnxruntime") and deploy(["--prefix", off, "--onnx"]) == 0:
        models.append((f"{off}.onnx",))
    for index, model in enumerate(models):
        again = figures(records, tmp_path / f"{index}.json", "--prefix", *model, "--cpu", "--metric", "coco")
        assert again["coco"] == expected["coco"]
    (tmp_path / "model" / "off.json").unlink()
    stated = ("--data-shape", "64", "--mean-r", "0", "--mean-g", "0", "--mean-b", "0", "--epoch", "3")
    names = ("--class-names", "red,green,blue", "--thresh", "0.1")
    flags = ("--prefix", off, "--cpu", "--metric", "coco", *stated, *names)
    again = figures(records, tmp_path / "c.json", *flags)
    assert again["coco"]["stats"] == pytest.approx(expected["coco"]["stats"], abs=1e-9)
    assert 0 < again["mAP"] < 1


def test_detections_of_shrunk_images_are_told_in_pixels_of_the_original(toy, tmp_path):
    """The truth is of the original; a packed image may be smaller."""
    colours = np.zeros((240, 400, 3), np.uint8)
    colours[:120, :200] = (255, 0, 0)
    Image.fromarray(colours).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", (400, 240), [(0, 0, 200, 120)], [0], [False], image_id="a")
    pack(
        AnnotationSet([sample], ("red", "green", "blue"), []),
        tmp_path / "small",
        options=PackOptions(resize_short=120),
    )
    with RecordDataset(tmp_path / "small.rec") as dataset:
        findings = find(Detector.from_saved(toy, context=mx.cpu()), dataset)
        sizes = []
        find(
            Detector.from_saved(toy, context=mx.cpu()),
            dataset,
            on_result=lambda r: sizes.append(r.pixels.shape),
        )
    assert sizes == [(120, 200, 3)]
    assert findings.truths[0].size == findings.detections[0].size == (400, 240)
    np.testing.assert_allclose(findings.detections[0].boxes, [[0, 0, 200, 120]], atol=0.1)


def test_no_network_is_opened_for_results(off, records, tmp_path, monkeypatch):
    assert run_evaluate(records, "--prefix", off, "--cpu", "--save-results", tmp_path / "a.json") == 0

    def fail(*_, **__):
        raise AssertionError("a network was opened")

    monkeypatch.setattr("evaluate.command.open_detector", fail)
    assert run_evaluate(records, "--from-results", tmp_path / "a.json") == 0


def test_threshold_counts_results_above_it(off, records, tmp_path, capsys):
    assert run_evaluate(records, "--prefix", off, "--cpu", "--save-results", tmp_path / "a.json") == 0
    capsys.readouterr()
    assert run_evaluate(records, "--from-results", tmp_path / "a.json", "--thresh", "0.99999") == 0
    printed = capsys.readouterr().out
    assert "mAP 0.0000" in printed
    assert "4 images, 4 of them without a detection, 0 detections from" in printed


def test_table_tells_what_the_best_threshold_gives(off, records, tmp_path, capsys):
    """Of two red objects one is found, and twice more with lower scores; of the others nothing is found."""
    with RecordDataset(records) as dataset:
        index = next(i for i in range(len(dataset)) if 0 in dataset.truth(i).class_ids)
        truth, image_id = dataset.truth(index), dataset.image_ids[index]
    box = truth.boxes[list(truth.class_ids).index(0)]
    entry = {"image_id": image_id, "category_id": 1, "bbox": [*box[:2].tolist(), 60, 40], "score": 0.8}
    again = [{**entry, "score": score} for score in (0.5, 0.3)]
    (tmp_path / "a.json").write_text(json.dumps([again[0], entry, again[1]]))
    flags = ("--from-results", tmp_path / "a.json", "--save-json", tmp_path / "b.json")
    assert run_evaluate(records, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("class", "AP", "precision", "recall", "F1", "threshold", "objects", "difficult", "detections")
    ]
    red = next(line.split() for line in lines if line.startswith("red"))
    assert red == ["red", "0.5000", "1.0000", "0.5000", "0.6667", "0.65", "2", "0", "3"]
    assert next(line.split() for line in lines if line.startswith("green"))[1:8] == [
        *(["0.0000"] * 4),
        *("0.5,", "no", "data"),
    ]
    classes = {row["name"]: row for row in json.loads((tmp_path / "b.json").read_text())["classes"]}
    assert classes["green"]["best_f1"] is None
    assert classes["red"]["best_f1"] == {"threshold": 0.65, "precision": 1.0, "recall": 0.5, "f1": 2 / 3}


def test_records_without_names_take_those_of_the_flag(off, records, tmp_path, capsys):
    assert run_evaluate(records, "--prefix", off, "--cpu", "--save-results", tmp_path / "a.json") == 0
    expected = [line for line in capsys.readouterr().out.splitlines() if "mAP" in line]
    for ending in (".json", ".gt.json"):
        records.with_suffix(ending).unlink()
    assert run_evaluate(records, "--from-results", tmp_path / "a.json") == 2
    assert "give --class-names" in capsys.readouterr().err
    flags = ("--from-results", tmp_path / "a.json", "--class-names", "red,green,blue", "--num-class")
    assert run_evaluate(records, *flags, "3") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "mAP" in line] == expected
    assert run_evaluate(records, *flags, "4") == 2
    assert "--num-class 4: the data set has 3 classes" in capsys.readouterr().err


def test_report_shows_what_was_found(off, records, tmp_path, capsys):
    assert run_evaluate(records, "--prefix", off, "--cpu", "--report", tmp_path / "report") == 0
    out = capsys.readouterr().out
    for name in ("index.html", "thresholds.json"):
        assert f"written: {tmp_path / 'report' / name}\n" in out
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "red" in page
    assert (tmp_path / "report" / "thresholds.json").is_file()
    assert run_evaluate(records, "--prefix", off, "--cpu", "--report", tmp_path / "report") == 0  # replaced


@pytest.mark.parametrize(("metric", "headline"), [("coco", "COCO AP"), ("voc07", "mAP")])
def test_report_is_headed_by_the_metric_that_was_asked_for(off, records, tmp_path, metric, headline):
    flags = ("--prefix", off, "--cpu", "--metric", metric, "--save-json", tmp_path / "a.json")
    assert run_evaluate(records, *flags, "--report", tmp_path / "report") == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    value = json.loads((tmp_path / "a.json").read_text())["mAP"]
    assert f'<span>{headline}</span> <strong id="map" data-v="{value}">' in page
    header = page[page.index("<header") : page.index("</header>")]
    assert [header.count(f"<dt>{what}</dt>") for what in ("Images", "images", "prefix", "model")] == [
        1,
        0,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--from-results", "a.json", "--prefix", "x"],
            "--prefix is for a network, and --from-results a.json runs none",
        ),
        (["--from-results", "a.json", "--epoch", "best"], "--epoch is for a network"),
        (["--from-results", "a.json", "--nms", "0.4"], "--nms is for a network"),
        (["--from-results", "a.json", "--no-force"], "--force is for a network"),
        (["--from-results", "a.json", "--thresh", "inf"], "--thresh inf: expected a number"),
        (["--from-results", "a.json"], "a.json: results file in COCO's form cannot be read"),
        (["--metric", "coco", "--voc07"], "--metric coco and --voc07 contradict each other"),
        (["--metric", "voc", "--voc07"], "--metric voc and --voc07 contradict"),
        (["--metric", "voc07", "--no-voc07"], "--metric voc07 and --no-voc07 contradict"),
        (["--metric", "coco", "--overlap", "0"], "expected a number above 0 and at most 1 (--overlap)"),
        (["--report", "file"], "file: is a file: give a folder for the report"),
        (["--save-results", "file"], "file: is a file: give a folder for VOC's results"),
        (["--save-results", "val.json"], "val.json: is there already and holds no results in COCO's form"),
        (["--save-results", "val.gt.json"], "val.gt.json: is there already and holds no results"),
        (["--save-results", "."], "which is no results file of VOC's form: choose an empty or new folder"),
        (["--save-json", "val.json"], "val.json: is there already and holds no figures"),
        (["--save-json", "file"], "file: is there already and holds no figures"),
        (["--save-json", "b.json", "--save-results", "./b.json"], "--save-json names the same place"),
        (["--from-results", "c.json", "--save-results", "c.json"], "--from-results names the same place"),
        (
            ["--save-results", "d", "--save-results", "d"],
            "--save-results d: --save-results names the same place",
        ),
    ],
)
def test_flags_that_cannot_stand_together_are_one_line(
    toy_prefix, records, capsys, monkeypatch, flags, message
):
    monkeypatch.chdir(records.parent)
    (records.parent / "file").write_text("notes")
    before = {path.name: path.read_bytes() for path in records.parent.iterdir() if path.is_file()}
    model = [] if "--from-results" in flags else ["--prefix", toy_prefix, "--cpu"]
    assert run_evaluate(records.name, *model, *flags) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if "graph_executor" not in line]
    assert (printed.out, len(lines)) == ("", 1)
    assert message in lines[0]
    assert {path.name: path.read_bytes() for path in records.parent.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("flags", "metric"),
    [
        ([], "voc"),
        (["--voc07"], "voc07"),
        (["--voc07", "False"], "voc"),
        (["--metric", "coco", "--voc07", "False"], "coco"),
        (["--metric", "voc07", "--voc07"], "voc07"),
    ],
)
def test_metric_is_that_of_the_flags(flags, metric):
    assert metric_of(build_parser().parse_args(flags)) == metric


def test_missing_library_is_told_before_the_work(toy_prefix, records, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert run_evaluate(records, "--prefix", toy_prefix, "--cpu", "--metric", "coco") == 2
    printed = capsys.readouterr()
    assert "pip install faster-coco-eval" in printed.err
    assert printed.out == ""
    assert run_evaluate(records, "--prefix", toy_prefix, "--cpu") == 0  # VOC's metrics do without


def test_earlier_files_of_the_command_are_replaced(toy_prefix, records, tmp_path):
    flags = [
        "--save-json",
        tmp_path / "a.json",
        "--save-results",
        tmp_path / "b.json",
        "--save-results",
        tmp_path / "c",
    ]
    for _ in range(2):
        assert run_evaluate(records, "--prefix", toy_prefix, "--cpu", *flags) == 0


def test_progress_tells_images_a_second_on_terminals_only(toy, records, capsys, monkeypatch):
    detector = Detector.from_saved(toy, context=mx.cpu())
    with RecordDataset(records) as dataset:
        find(detector, dataset, progress=True)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        find(detector, dataset, progress=True)
    assert "images/s" in capsys.readouterr().err


def test_wrong_entry_is_one_line_of_the_command(records, tmp_path, capsys):
    (tmp_path / "a.json").write_text('[{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]')
    assert run_evaluate(records, "--from-results", tmp_path / "a.json") == 2
    assert "a.json: entry 1: image_id 99 is not of the data set, whose ids are " in capsys.readouterr().err
