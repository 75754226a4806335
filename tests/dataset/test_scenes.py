"""Drawn scenes: fair truth, no clue but the shape, the same pixels everywhere."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from common import boxes as box_ops
from common.errors import ConfigError
from common.mx import cv2
from dataset import scene_shapes, scenes
from dataset.scenes import CLASS_NAMES, draw_scene

SIZES = [(256, 256), (64, 64), (300, 200), (100, 333), (640, 480)]


@pytest.fixture(scope="module")
def many_scenes():
    return [draw_scene(seed) for seed in range(600)]


def digest(seed, size=(256, 256)):
    image, boxes, class_ids = draw_scene(seed, size)
    return hashlib.sha256(image.tobytes() + boxes.tobytes() + class_ids.tobytes()).hexdigest()


# ---- determinism


def test_same_seed_gives_same_pixels_in_any_process(project_root):
    code = (
        "import hashlib; from dataset.scenes import draw_scene\n"
        "for seed in (0, 7, (1, 2, 3)):\n"
        "    i, b, c = draw_scene(seed)\n"
        "    print(hashlib.sha256(i.tobytes() + b.tobytes() + c.tobytes()).hexdigest())\n"
    )
    for hash_seed, threads in (("0", "1"), ("12345", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            cwd=project_root,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == [digest(0), digest(7), digest((1, 2, 3))], done.stderr


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(3)
    first, after = digest(5), np.random.random()
    np.random.seed(3)
    assert np.random.random() == after
    np.random.seed(4)
    assert digest(5) == first


def test_different_seeds_differ(many_scenes):
    assert len({image.tobytes() for image, _, _ in many_scenes}) == len(many_scenes)
    assert len({digest((1, set_id, index)) for set_id in range(3) for index in range(5)}) == 15


# ---- truth


@pytest.mark.parametrize("size", SIZES)
def test_arrays_have_documented_shapes_and_boxes_lie_inside(size):
    for seed in range(40):
        image, boxes, class_ids = draw_scene(seed, size)
        assert image.shape == (size[1], size[0], 3)
        assert image.dtype == np.uint8
        assert boxes.shape == (len(class_ids), 4)
        assert boxes.dtype == np.float64
        assert class_ids.dtype == np.int64
        assert len(class_ids) <= 6
        assert np.all(boxes == np.round(boxes))
        assert np.all(boxes[:, :2] >= 0)
        assert np.all(boxes[:, 2:] <= size)
        assert np.all((class_ids >= 0) & (class_ids < len(CLASS_NAMES)))


def test_sizes_stay_in_their_range(many_scenes):
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2] for _, boxes, _ in many_scenes])
    assert sides.min() >= 28
    assert sides.max() <= 0.5 * 256
    assert np.sqrt(sides.prod(axis=1)).std() > 15  # they really vary


def test_small_share_of_scenes_has_no_objects(many_scenes):
    empty = np.mean([len(class_ids) == 0 for _, _, class_ids in many_scenes])
    assert 0.01 < empty < 0.06
    assert all(len(draw_scene(seed, empty_share=0)[2]) for seed in range(200))
    assert not any(len(draw_scene(seed, empty_share=1)[2]) for seed in range(20))


def test_every_kind_appears_about_equally_often(many_scenes):
    counts = np.bincount(np.concatenate([class_ids for _, _, class_ids in many_scenes]), minlength=5)
    assert counts.min() > 0.8 * counts.mean()
    assert counts.sum() > 2.5 * len(many_scenes)


def test_boxes_overlap_often_but_bounded(many_scenes):
    largest = []
    for _, boxes, _ in many_scenes:
        if len(boxes) > 1:
            areas = box_ops.area(boxes)
            ious = box_ops.iou(boxes, boxes)
            shared = ious / (1 + ious) * (areas[:, None] + areas[None, :])
            overlap = shared / np.minimum(areas[:, None], areas[None, :])
            np.fill_diagonal(overlap, 0)
            largest.append(overlap.max())
            assert ious[~np.eye(len(boxes), dtype=bool)].max() < 0.45
    assert max(largest) <= 0.45 + 1e-9
    assert np.mean(np.array(largest) > 0.02) > 0.3


def test_half_of_each_object_stays_visible(monkeypatch):
    drawn = []
    monkeypatch.setattr(scenes, "_draw_object", lambda rng, image, part: drawn.append(part))
    hidden_shares = []
    for seed in range(150):
        drawn.clear()
        _, boxes, _ = draw_scene(seed)
        for index, part in enumerate(drawn):
            seen = np.zeros((256, 256), bool)
            seen[part.region()] = part.covered()
            whole = seen.sum()
            for later in drawn[index + 1 :]:
                seen[later.region()] &= ~later.covered()
            hidden_shares.append(1 - seen.sum() / whole)
            rows, columns = np.nonzero(part.covered())
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (boxes[index] == np.add(corners, [part.x, part.y] * 2)).all()
    assert max(hidden_shares) <= 0.5
    assert np.mean(np.array(hidden_shares) > 0.02) > 0.08


def test_truth_matches_the_pixels(monkeypatch):
    """The objects painted white on black give back the boxes, by an oracle that knows pixels alone."""
    monkeypatch.setattr(
        scenes, "draw_background", lambda rng, size: np.zeros((size[1], size[0], 3), np.uint8)
    )
    white = np.full(3, 255, np.float32)
    monkeypatch.setattr(scenes, "paint", lambda rng, h, w: (np.full((h, w, 3), 255, np.float32), white))
    found_alone = 0
    for seed in range(120):
        image, boxes, _ = draw_scene(seed, (320, 200), empty_share=0)
        if len(boxes) == 1:
            found_alone += 1
            x, y, width, height = cv2.boundingRect((image[:, :, 0] > 127).astype(np.uint8))
            assert boxes[0].tolist() == [x, y, x + width, y + height]
    assert found_alone > 5


def test_disc_lies_around_its_centre_to_a_pixel():
    contours = [scene_shapes.outline("disc", np.random.default_rng(0))[0] * 20]
    part = scene_shapes.stamp(contours, (50.5, 40.5), border_width=0)
    assert part.box() == pytest.approx([30.5, 20.5, 70.5, 60.5], abs=1.01)
    assert part.covered().sum() == pytest.approx(np.pi * 20.5**2, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "share"),
    [("disc", 0.785), ("ring", 0.56), ("square", 0.7), ("star", 0.36), ("triangle", 0.5)],
)
def test_outlines_of_the_kinds_are_different_shapes(kind, share):
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(50):
        contours = scene_shapes.place_outline(scene_shapes.outline(kind, rng), rng, side=60)
        part = scene_shapes.stamp(contours, (64, 64), border_width=0)
        box = part.box()
        assert np.sqrt(box_ops.area(box)[0]) == pytest.approx(60, abs=3)
        shares.append(part.covered().sum() / box_ops.area(box)[0])
    assert np.mean(shares) == pytest.approx(share, abs=0.09)


def test_objects_differ_visibly_from_what_they_cover(monkeypatch):
    contrasts = []
    original = scenes._draw_object

    def spy(rng, image, part):
        before = image.copy()
        original(rng, image, part)
        rows_columns = part.region()
        inside = part.covered()
        change = image[rows_columns][inside].mean(axis=0) - before[rows_columns][inside].mean(axis=0)
        contrasts.append(np.linalg.norm(change))

    monkeypatch.setattr(scenes, "_draw_object", spy)
    for seed in range(100):
        draw_scene(seed)
    assert min(contrasts) > 30
    assert np.percentile(contrasts, 5) > 60


# ---- only the shape tells the kind


def colour_features(scene_list, how):
    """Mean colours of the objects' boxes (or of their middles) and the ids: (N, 3), (N,)."""
    colours, ids = [], []
    for image, boxes, class_ids in scene_list:
        for box, class_id in zip(boxes.astype(int), class_ids):
            crop = image[box[1] : box[3], box[0] : box[2]].astype(np.float64)
            if how == "middle":
                height, width = crop.shape[:2]
                crop = crop[height // 4 : -(height // 4), width // 4 : -(width // 4)]
            colours.append(crop.reshape(-1, 3).mean(axis=0))
            ids.append(class_id)
    return np.array(colours), np.array(ids)


def masked_colour_features(monkeypatch, seeds):
    """Mean colours of exactly the objects' own pixels and the ids: what colour alone could tell at best."""
    colours, ids = [], []
    original = scenes._draw_object

    def spy(rng, image, part):
        original(rng, image, part)
        colours.append(image[part.region()][part.covered()].mean(axis=0))

    with monkeypatch.context() as patch:
        patch.setattr(scenes, "_draw_object", spy)
        for seed in seeds:
            ids.extend(draw_scene(seed)[2])
    return np.array(colours), np.array(ids)


def nearest_mean_accuracy(train, test):
    means = np.stack([train[0][train[1] == class_id].mean(axis=0) for class_id in range(len(CLASS_NAMES))])
    distances = np.linalg.norm(test[0][:, None] - means[None], axis=2)
    return np.mean(distances.argmin(axis=1) == test[1])


def neighbour_accuracy(train, test, count):
    distances = np.linalg.norm(test[0][:, None] - train[0][None], axis=2)
    votes = train[1][np.argsort(distances, axis=1)[:, :count]]
    counts = np.stack([(votes == class_id).sum(axis=1) for class_id in range(len(CLASS_NAMES))], axis=1)
    return np.mean(counts.argmax(axis=1) == test[1])


@pytest.mark.parametrize("how", ["box", "middle"])
def test_colour_does_not_tell_the_kind(many_scenes, how):
    train, test = colour_features(many_scenes[:400], how), colour_features(many_scenes[400:], how)
    assert nearest_mean_accuracy(train, test) < 0.4
    for count in (1, 5, 25):
        assert neighbour_accuracy(train, test, count) < 0.4


def test_colour_of_the_objects_own_pixels_does_not_tell_the_kind(monkeypatch):
    train = masked_colour_features(monkeypatch, range(300))
    test = masked_colour_features(monkeypatch, range(10_000, 10_150))
    assert nearest_mean_accuracy(train, test) < 0.3
    for count in (1, 5, 25):
        assert neighbour_accuracy(train, test, count) < 0.3


def test_paint_is_not_told_the_kind():
    """Two kinds with the same generator state are painted alike."""
    first = scene_shapes.paint(np.random.default_rng(4), 40, 50)
    second = scene_shapes.paint(np.random.default_rng(4), 40, 50)
    assert first[0].shape == (40, 50, 3)
    assert (first[0] == second[0]).all()
    assert "kind" not in scene_shapes.paint.__code__.co_varnames


# ---- wrong arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": (63, 256)}, "at least 64"),
        ({"size": (256, 0)}, "at least 64"),
        ({"empty_share": 1.5}, "between 0 and 1"),
        ({"empty_share": float("nan")}, "between 0 and 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        draw_scene(0, **arguments)
