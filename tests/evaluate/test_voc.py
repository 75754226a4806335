"""Average precision against tables by hand, a literal port of the development kit, gluoncv and pycocotools."""

import copy
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.boxes import iou
from common.errors import ConfigError, RecordError
from common.structures import Detections, Sample
from evaluate.voc import average_precision, evaluate

NAMES = ("cat", "dog", "cow")
A, B, C = [0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]


def truth(*objects, source=""):
    """A Sample of (class id, box, "" | "difficult" | "crowd") rows."""
    kinds = [(*row, "")[2] for row in objects]
    return Sample(
        Path("image.jpg"),
        (100, 100),
        np.array([row[1] for row in objects], float).reshape(-1, 4),
        np.array([row[0] for row in objects], int),
        np.array([kind == "difficult" for kind in kinds], bool),
        crowd=np.array([kind == "crowd" for kind in kinds], bool),
        source=source,
    )


def found(*rows):
    """Detections of (class id, score, box) rows, in the order given."""
    return Detections(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        (100, 100),
    )


def single_ap(truths, detections, **settings):
    return evaluate(truths, detections, NAMES, **settings).classes[0].ap


# The curves and their areas, worked out by hand.
@pytest.mark.parametrize(
    ("recall", "precision", "area", "eleven"),
    [
        ([], [], 0.0, 0.0),
        ([1.0], [1.0], 1.0, 1.0),
        ([0.0], [0.0], 0.0, 0.0),
        ([0.5], [1.0], 0.5, 6 / 11),
        ([0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3], 0.5 + 0.5 * 2 / 3, (6 + 5 * 2 / 3) / 11),
        ([0.0, 0.5], [0.0, 0.5], 0.25, 6 * 0.5 / 11),
        ([0.3], [1.0], 0.3, 4 / 11),  # three of ten objects reach the point 0.3
        ([0.2, 0.6], [1.0, 1.0], 0.6, 7 / 11),
    ],
)
def test_average_precision_of_curves_by_hand(recall, precision, area, eleven):
    assert average_precision(recall, precision) == pytest.approx(area, abs=1e-12)
    assert average_precision(recall, precision, use_07_metric=True) == pytest.approx(eleven, abs=1e-12)


@pytest.mark.parametrize("wrong_first", [True, False])
def test_detections_count_in_the_order_of_their_scores_not_of_their_rows(wrong_first):
    # mxnet-ssd threw its sort away: the later row of a higher score lost the object to the earlier one.
    shifted = [2, 0, 12, 10]
    rows = [(0, 0.6, shifted), (0, 0.9, A), (0, 0.8, C)]
    rows = rows if wrong_first else rows[::-1]
    result = evaluate([truth((0, A), (0, B))], [found(*rows)], NAMES).classes[0]
    np.testing.assert_allclose(result.scores, [0.9, 0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(result.recall, [0.5, 0.5, 0.5])
    assert result.ap == 0.5


def test_second_detection_of_an_object_is_wrong():
    assert single_ap(
        [truth((0, A), (0, B))], [found((0, 0.9, A), (0, 0.8, A), (0, 0.7, B))]
    ) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_detection_takes_the_object_it_overlaps_most_even_if_that_is_taken():
    # The kit never falls back on the second best object.
    near, far = [0, 0, 10, 10], [0, 0, 10, 14]
    rows = [(0, 0.9, near), (0, 0.8, near)]
    result = evaluate([truth((0, near), (0, far))], [found(*rows)], NAMES).classes[0]
    assert result.final_recall == 0.5
    np.testing.assert_allclose(result.precision, [1, 0.5])


def test_overlap_of_exactly_the_threshold_takes_the_object():
    half = [0, 0, 10, 5]
    assert single_ap([truth((0, A))], [found((0, 0.9, half))]) == 1.0
    assert single_ap([truth((0, A))], [found((0, 0.9, half))], iou_threshold=0.51) == 0.0


def test_difficult_objects_are_neutral():
    truths = [truth((0, A, "difficult"), (0, B))]
    rows = [(0, 0.9, A), (0, 0.85, A), (0, 0.8, B)]
    result = evaluate(truths, [found(*rows)], NAMES).classes[0]
    assert (result.ap, result.objects, result.difficult, result.detections) == (1.0, 1, 1, 3)
    np.testing.assert_allclose(result.precision, [1.0])
    counted = evaluate(truths, [found(*rows)], NAMES, use_difficult=True).classes[0]
    assert (counted.objects, counted.difficult) == (2, 0)
    np.testing.assert_allclose(counted.precision, [1, 1 / 2, 2 / 3])


def test_objects_beside_detected_difficult_ones_still_count():
    # mxnet-ssd: where all detections of an image took difficult objects, its other objects were never counted.
    truths = [truth((0, A, "difficult"), (0, B)), truth((0, C))]
    detections = [found((0, 0.9, A)), found((0, 0.8, C))]
    result = evaluate(truths, detections, NAMES).classes[0]
    assert (result.objects, result.final_recall, result.ap) == (2, 0.5, 0.5)


def test_difficult_objects_of_images_without_detections_are_no_misses():
    # mxnet-ssd counted them.
    truths = [truth((0, A, "difficult"), (0, B, "difficult")), truth((0, C))]
    result = evaluate(truths, [found(), found((0, 0.8, C))], NAMES)
    assert (result.classes[0].objects, result.classes[0].ap, result.mean) == (1, 1.0, 1.0)


def test_class_without_objects_stays_out_of_the_mean_and_is_named():
    # mxnet-ssd gave it AP 0 as soon as one detection was there.
    result = evaluate([truth((0, A))], [found((0, 0.9, A), (1, 0.9, B))], NAMES)
    assert [c.ap for c in result.classes] == [1.0, None, None]
    assert result.mean == 1.0
    assert result.without_truth == ("dog", "cow")
    assert "left out of the mean, no objects: dog, cow" in result.summary()


def test_class_with_only_difficult_objects_has_no_ap():
    result = evaluate([truth((0, A, "difficult"))], [found((0, 0.9, A))], NAMES)
    assert result.mean is None
    assert "undefined" in result.summary()


def test_class_without_detections_has_ap_zero():
    result = evaluate([truth((0, A), (1, B))], [found((0, 0.9, A))], NAMES)
    assert [c.ap for c in result.classes] == [1.0, 0.0, None]
    assert result.mean == 0.5


@pytest.mark.parametrize("images", [0, 1, 3])
def test_nothing_at_all_has_no_mean_and_no_nan(images):
    result = evaluate([truth()] * images, [found()] * images, NAMES)
    assert result.mean is None
    assert "nan" not in result.summary().lower()
    json.dumps(result.as_dict(), allow_nan=False)


def test_crowd_forgives_detections_inside_it_and_takes_no_objects_place():
    crowd = [0, 0, 100, 100]
    truths = [truth((0, A), (0, crowd, "crowd"))]
    rows = [(0, 0.9, B), (0, 0.8, C), (0, 0.7, A), (0, 0.6, A)]
    result = evaluate(truths, [found(*rows)], NAMES).classes[0]
    assert (result.ap, result.objects, result.crowds, result.detections) == (1.0, 1, 1, 4)
    other_class = evaluate(truths, [found((1, 0.9, B))], NAMES).classes[1]
    np.testing.assert_allclose(other_class.precision, [0.0])


def test_images_do_not_share_objects():
    detections = [found((0, 0.9, A)), found((0, 0.8, A))]
    assert single_ap([truth((0, A)), truth((0, B))], detections) == 0.5


def test_results_are_ready_for_json():
    result = evaluate([truth((0, A), (1, B))], [found((0, 0.9, A))], NAMES, metric="voc07")
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert values["mAP"] == 0.5
    assert values["classes"][2] == {
        "name": "cow",
        "ap": None,
        "recall": None,
        "objects": 0,
        "difficult": 0,
        "crowds": 0,
        "detections": 0,
    }


def test_bad_arguments_are_refused_by_name():
    one, none = [truth((0, A))], [found()]
    with pytest.raises(ConfigError, match="metric 'coco'"):
        evaluate(one, none, NAMES, metric="coco")
    with pytest.raises(ConfigError, match="--overlap"):
        evaluate(one, none, NAMES, iou_threshold=0)
    with pytest.raises(ConfigError, match="--class-names"):
        evaluate(one, none, ())
    with pytest.raises(RecordError, match=r"b\.xml: class id 3"):
        evaluate([truth((0, A)), truth((3, A), source="b.xml")], none * 2, NAMES)
    with pytest.raises(ConfigError, match="image 0: class id 7"):
        evaluate(one, [found((7, 0.5, A))], NAMES)
    with pytest.raises(ConfigError, match="not finite"):
        evaluate(one, [found((0, np.nan, A))], NAMES)
    with pytest.raises(ValueError, match="in pixels"):
        evaluate(one, [Detections.from_rows(np.array([[0, 0.5, 0, 0, 1, 1]]))], NAMES)
    with pytest.raises(ValueError, match="one of each"):
        evaluate(one, [], NAMES)


# ---- random worlds


def random_world(seed, images=40, classes=3, integer=False):
    """Truths with difficult objects, detections near objects and elsewhere, duplicates among them, scores distinct."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.linspace(0.01, 0.99, images * 12)).astype(np.float32)
    truths, detections = [], []
    for index in range(images):
        count = rng.integers(0, 6)
        corners = rng.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 40, (count, 2))], axis=1)
        boxes = np.floor(boxes) if integer else boxes
        ids = rng.integers(0, classes, count)
        rows = []
        for k in range(rng.integers(0, 12)):
            near = count and rng.random() < 0.7
            pick = rng.integers(count) if near else 0
            box = boxes[pick] + rng.normal(0, 3, 4) if near else np.array([0, 0, 30, 30]) + rng.uniform(0, 40)
            class_id = ids[pick] if near and rng.random() < 0.8 else rng.integers(0, classes)
            box = np.concatenate([np.minimum(box[:2], box[2:] - 1), box[2:]])
            rows.append((class_id, scores[index * 12 + k], np.floor(box) if integer else box))
        kinds = np.where(rng.random(count) < 0.2, "difficult", "")
        truths.append(truth(*zip(ids, boxes, kinds)))
        detections.append(found(*rows))
    return truths, detections


def kit_average_precision(truths, detections, class_id, threshold=0.5):
    """VOCevaldet.m of 2010, word by word, on half-open boxes."""
    rows = [
        (score, image, box)
        for image, d in enumerate(detections)
        for c, score, box in zip(d.class_id, d.score, d.boxes)
        if c == class_id
    ]
    rows.sort(key=lambda row: -row[0])
    taken, tp, fp = set(), [], []
    positives = sum(np.sum((t.class_ids == class_id) & ~t.difficult) for t in truths)
    for _, image, box in rows:
        best, best_index = -np.inf, None
        for j in np.flatnonzero(truths[image].class_ids == class_id):
            overlap = iou(box, truths[image].boxes[j])[0, 0]
            if overlap > best:
                best, best_index = overlap, j
        difficult = best >= threshold and truths[image].difficult[best_index]
        right = best >= threshold and not difficult and (image, best_index) not in taken
        taken |= {(image, best_index)} if right else set()
        tp.append(int(right))
        fp.append(int(not right and not difficult))
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    with np.errstate(invalid="ignore"):
        recall = np.concatenate([[0], tp / positives, [1]])
        precision = np.concatenate([[0], np.nan_to_num(tp / (tp + fp)), [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    i = np.flatnonzero(np.diff(recall)) + 1
    return float(np.sum((recall[i] - recall[i - 1]) * precision[i]))


@pytest.mark.parametrize("seed", range(8))
def test_same_values_as_a_literal_port_of_the_development_kit(seed):
    truths, detections = random_world(seed)
    result = evaluate(truths, detections, NAMES)
    for class_id, entry in enumerate(result.classes):
        assert entry.ap == pytest.approx(kit_average_precision(truths, detections, class_id), abs=1e-12)


@pytest.mark.parametrize("metric", ["voc", "voc07"])
@pytest.mark.parametrize("seed", range(5))
def test_same_values_as_gluoncv(metric, seed):
    """gluoncv adds a pixel to the sides of boxes (so it gets VOC's inclusive ones), reverses equal scores (there are
    none here) and asks for a recall of 0.30000000000000004: classes of 5, 10, ... objects are left out of voc07."""
    pytest.importorskip("common.mx", reason="MXNet")
    voc_detection = pytest.importorskip("gluoncv.utils.metrics.voc_detection")
    truths, detections = random_world(seed, integer=True)
    kind = voc_detection.VOC07MApMetric if metric == "voc07" else voc_detection.VOCMApMetric
    judge = kind(iou_thresh=0.5, class_names=NAMES)
    inclusive = np.array([0, 0, 1, 1])
    for t, d in zip(truths, detections):
        judge.update(
            (d.boxes.astype(float) - inclusive)[None],
            d.class_id[None],
            d.score[None],
            (t.boxes - inclusive)[None],
            t.class_ids[None],
            t.difficult[None],
        )
    theirs = dict(zip(*judge.get()))
    ours = evaluate(truths, detections, NAMES, metric=metric)
    compared = [c for c in ours.classes if metric == "voc" or c.objects % 5]
    assert compared
    for entry in compared:
        assert entry.ap == pytest.approx(theirs[entry.name], abs=1e-9)


def test_recall_equals_pycocotools_where_objects_do_not_overlap():
    """COCO's matching differs only where a detection overlaps several objects."""
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    cells = np.array([[x, y, x + 20, y + 20] for x in range(0, 80, 30) for y in range(0, 80, 30)], float)
    truths, detections, annotations, results = [], [], [], []
    for image in range(30):
        chosen = cells[rng.permutation(9)[: rng.integers(1, 6)]]
        rows = [(0, rng.random(), cells[i] + rng.normal(0, 2.5, 4)) for i in rng.permutation(9)[:5]]
        truths.append(truth(*((0, box) for box in chosen)))
        detections.append(found(*rows))
        annotations += [(image, [*box[:2], *(box[2:] - box[:2])]) for box in chosen]
        results += [(image, score, box) for _, score, box in rows]
    coco = coco_module.COCO()
    coco.dataset = {
        "images": [{"id": i, "width": 100, "height": 100} for i in range(30)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": k + 1, "image_id": i, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for k, (i, b) in enumerate(annotations)
        ],
    }
    coco.createIndex()
    loaded = coco.loadRes(
        [
            {"image_id": i, "category_id": 1, "score": s, "bbox": [*b[:2], *(b[2:] - b[:2])]}
            for i, s, b in results
        ]
    )
    judge = COCOeval(coco, loaded, "bbox")
    judge.params.iouThrs = np.array([0.5])
    judge.evaluate()
    judge.accumulate()
    ours = evaluate(truths, detections, NAMES).classes[0]
    assert 0.3 < ours.final_recall < 1
    assert ours.final_recall == pytest.approx(judge.eval["recall"][0, 0, 0, 2])
    assert ours.ap == pytest.approx(judge.eval["precision"][0, :, 0, 0, 2].mean(), abs=0.02)  # 101 points


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 50))
def test_order_of_images_and_unit_of_boxes_change_nothing(seed, scale):
    truths, detections = random_world(seed, images=8)
    order = np.random.default_rng(seed).permutation(8)
    moved = [
        Sample(t.image_path, t.size, t.boxes * 2.0 ** round(scale), t.class_ids, t.difficult) for t in truths
    ]
    grown = [
        Detections(d.class_id, d.score, d.boxes * np.float32(2.0 ** round(scale)), d.size) for d in detections
    ]
    first = evaluate(truths, detections, NAMES)
    second = evaluate([moved[i] for i in order], [grown[i] for i in order], NAMES)
    assert first.as_dict() == second.as_dict()


def test_equal_scores_keep_their_order():
    rows = [(0, 0.5, B), (0, 0.5, A), (0, 0.5, A)]
    np.testing.assert_allclose(
        evaluate([truth((0, A))], [found(*rows)], NAMES).classes[0].precision, [0, 1 / 2, 1 / 3]
    )


def test_arguments_are_not_changed():
    truths, detections = random_world(1)
    before = copy.deepcopy((truths, detections))
    evaluate(truths, detections, NAMES)
    for kept, now in zip(before[0] + before[1], truths + detections):
        for name, value in vars(kept).items():
            assert np.array_equal(value, getattr(now, name))


def test_many_pairs_are_matched_in_portions(monkeypatch):
    truths, detections = random_world(2, images=60)
    whole = evaluate(truths, detections, NAMES).as_dict()
    monkeypatch.setattr("evaluate.matching._PAIRS_AT_ONCE", 7)
    assert evaluate(truths, detections, NAMES).as_dict() == whole


def test_five_thousand_images_take_seconds():
    truths, detections = random_world(4, images=200)
    started = time.perf_counter()
    evaluate(truths * 25, detections * 25, NAMES)
    assert time.perf_counter() - started < 10
