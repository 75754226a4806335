"""Recipes, and what the C++ iterator makes of them: the pixels are the oracle, not our code."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from common.errors import ConfigError
from common.mx import mx
from dataset.augmentation import RECIPES, Augmentation, flip_upside_down, recipe
from dataset.iterator import TrainingIterator
from dataset.records import RecordDataset

MEAN = (123.0, 117.0, 104.0)
OFF = recipe("none")


def png(pixels: np.ndarray) -> bytes:
    """Return pixels as an image file, without loss."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def write(path, pictures, boxes):
    """Write records of lossless pictures, each with one object; box in pixels."""
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for key, (pixels, box) in enumerate(zip(pictures, boxes)):
        height, width = pixels.shape[:2]
        label = [2, 6, 0, *(np.array(box) / [width, height, width, height]), 0]
        header = mx.recordio.IRHeader(0, np.array(label, np.float32), key, 0)
        writer.write_idx(key, mx.recordio.pack(header, png(pixels)))
    writer.close()
    return RecordDataset(path)


def batches(dataset, augmentation, folder, data_shape=(120, 160), mean=MEAN, std=(1.0, 1.0, 1.0), epoch=0):
    """Return [(pixels (H, W, 3) float, label (M, 6), record)] of an epoch."""
    iterator = TrainingIterator(
        dataset, batch_size=8, data_shape=data_shape, mean=mean, std=std, augmentation=augmentation,
        seed=3, workers=2, folder=folder / "records",
    )  # fmt: skip
    samples = []
    for batch in iterator.epoch(epoch, next_epoch=False):
        pixels = batch.data.asnumpy().transpose(0, 2, 3, 1) * np.array(std) + np.array(mean)
        samples += list(zip(pixels, batch.label.asnumpy(), batch.records))
    iterator.close()
    return samples


@pytest.fixture(scope="module")
def red_boxes(tmp_path_factory):
    """64 black pictures of 800x600, each with a red box that is its object."""
    rng = np.random.default_rng(0)
    pictures, boxes = [], []
    for _ in range(64):
        x, y = rng.integers(0, 650), rng.integers(0, 450)
        box = (x, y, rng.integers(x + 100, 801), rng.integers(y + 100, 601))
        pixels = np.zeros((600, 800, 3), np.uint8)
        pixels[box[1] : box[3], box[0] : box[2], 0] = 255
        pictures.append(pixels)
        boxes.append(box)
    return write(tmp_path_factory.mktemp("red") / "red.rec", pictures, boxes)


def coloured_area(pixels: np.ndarray) -> np.ndarray:
    """Return the bounding box of what is coloured; black, grey and white are not, whatever their lightness."""
    colour = pixels.max(axis=2) - pixels.min(axis=2)
    rows, columns = np.nonzero(colour > colour.max() / 2)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_labels_match_the_pixels_within_two(red_boxes, tmp_path, name):
    samples = batches(red_boxes, recipe(name), tmp_path)
    moved = 0
    for pixels, label, record in samples:
        assert label.shape == (1, 6)
        assert label[0, 0] == 0
        assert ((label[0, 1:5] >= 0) & (label[0, 1:5] <= 1)).all()
        np.testing.assert_allclose(label[0, 1:5] * [160, 120, 160, 120], coloured_area(pixels), atol=2)
        moved += np.abs(label[0, 1:5] - red_boxes.read(int(record)).label[0, 1:5]).max() > 0.05
    assert {"none": moved == 0, "mirror": 15 < moved < 50}.get(name, moved > 30)


def test_upside_down_is_drawn_anew_each_epoch_for_half_of_the_images(red_boxes, tmp_path):
    augmentation = dataclasses.replace(OFF, flip_probability=0.5)
    flipped = []
    for epoch in (0, 1):
        samples = batches(red_boxes, augmentation, tmp_path, epoch=epoch)
        original = {int(r): red_boxes.read(int(r)).label[0] for _, _, r in samples}
        flipped.append({int(r) for _, label, r in samples if abs(label[0, 2] - original[int(r)][2]) > 1e-4})
        for pixels, label, _ in samples:
            np.testing.assert_allclose(label[0, 1:5] * [160, 120, 160, 120], coloured_area(pixels), atol=2)
    assert all(16 <= len(records) <= 48 for records in flipped)
    assert flipped[0] != flipped[1]


def test_upside_down_turns_boxes_and_leaves_void_rows_and_arguments():
    data = mx.nd.array(np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2))
    rows = np.full((2, 2, 6), -1, np.float32)
    rows[:, 0] = [1, 0.1, 0.2, 0.3, 0.7, 1]
    label = mx.nd.array(rows)
    before = data.asnumpy(), label.asnumpy()
    turned, boxes = flip_upside_down(data, label, np.array([True, False]))
    np.testing.assert_array_equal(turned.asnumpy(), [before[0][0][:, ::-1], before[0][1]])
    np.testing.assert_allclose(boxes.asnumpy()[0, 0], [1, 0.1, 0.3, 0.3, 0.8, 1], atol=1e-6)
    np.testing.assert_array_equal(boxes.asnumpy()[0, 1], rows[0, 1])
    np.testing.assert_array_equal(boxes.asnumpy()[1], rows[1])
    np.testing.assert_array_equal(data.asnumpy(), before[0])
    np.testing.assert_array_equal(label.asnumpy(), before[1])


@pytest.mark.parametrize(
    ("mean", "grey"),
    [(MEAN, 115), ((0.0, 0.0, 0.0), 0), ((10.0, 20.0, 31.0), 20), ((255.0, 255.0, 254.0), 255)],
)
def test_canvas_is_the_grey_nearest_the_mean(red_boxes, tmp_path, mean, grey):
    augmentation = dataclasses.replace(OFF, zoom_out_probability=1.0, max_zoom_out=4.0)
    found = set()
    for pixels, _, _ in batches(red_boxes, augmentation, tmp_path, mean=mean, std=(58.0, 1.0, 0.5)):
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        plain = [corner for corner in corners if np.ptp(corner) < 0.5 and corner.max() > 0.5]
        found.update(int(round(value)) for corner in plain for value in corner)
    assert found == ({grey} if grey else set())  # on a black canvas the black picture does not show


def test_zoom_out_is_by_the_side_up_to_the_number_given(red_boxes, tmp_path):
    ratios = []
    augmentation = dataclasses.replace(OFF, zoom_out_probability=1.0, max_zoom_out=3.0)
    for _, label, record in batches(red_boxes, augmentation, tmp_path):
        ratios.append(np.diff(red_boxes.read(int(record)).label[0, [1, 3]]) / np.diff(label[0, [1, 3]]))
    assert 2.5 < max(ratios) <= 3.01
    assert min(ratios) >= 0.99


def test_crop_scale_is_the_root_of_the_area(tmp_path):
    across, down = np.meshgrid(np.linspace(0, 255, 600), np.linspace(0, 255, 600))
    pixels = np.stack([across, down, np.zeros_like(across)], axis=2).astype(np.uint8)
    dataset = write(tmp_path / "a.rec", [pixels] * 64, [(0, 0, 600, 600)] * 64)
    augmentation = dataclasses.replace(OFF, crop_probability=1.0, crop_overlaps=(0.0,), min_crop_scale=0.5)
    sides = []
    for found, _, _ in batches(dataset, augmentation, tmp_path, data_shape=(64, 64)):
        sides.append([np.ptp(found[32, :, 0]) / 255, np.ptp(found[:, 32, 1]) / 255])
    scales, ratios = np.sqrt(np.prod(sides, axis=1)), np.divide(*np.transpose(sides))
    assert 0.47 < scales.min() < 0.6
    assert ratios.min() > 0.48
    assert ratios.max() < 2.1


def test_unknown_recipe_names_the_closest():
    with pytest.raises(ConfigError, match=r"--augment microscop: no such recipe; did you mean microscope\?"):
        recipe("microscop")
    with pytest.raises(ConfigError, match="there are: ssd, "):
        recipe("")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_comes_back_from_json(name):
    values = json.loads(json.dumps(recipe(name).to_dict()))
    assert Augmentation.from_dict(values) == recipe(name)


def test_unknown_setting_names_the_closest():
    with pytest.raises(ConfigError, match=r"'mirror_probabilty'; did you mean mirror_probability"):
        Augmentation.from_dict({"mirror_probabilty": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"crop_probability": 1.5}, {"mirror_probability": -0.1}, {"flip_probability": float("nan")},
        {"zoom_out_probability": "1"}, {"colour_probability": None}, {"max_zoom_out": 0.5},
        {"max_zoom_out": float("inf")}, {"max_zoom_out": float("nan")}, {"min_crop_scale": 0}, {"min_crop_scale": 1.1},
        {"crop_overlaps": (0.1, 1.2)}, {"crop_overlaps": 0.5}, {"crop_overlaps": ("a",)},
        {"crop_aspect_ratios": (0.5,)}, {"crop_aspect_ratios": (2.0, 0.5)}, {"crop_aspect_ratios": (0.0, 2.0)},
        {"hue": 18.5}, {"hue": 181}, {"saturation": -1}, {"lightness": 256}, {"contrast": 1.5},
        {"crop_trials": -1}, {"crop_trials": True},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(change):
    (name, _), *_ = change.items()
    with pytest.raises(ConfigError, match=f"augmentation: {name} is "):
        Augmentation(**change)
