"""An imported detector finds what gluoncv's own finds with the same weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.mx import mx
from detect.detector import Detector
from model.saved import SavedDetector
from symbol.anchors import AnchorConfig, FixedAnchors
from symbol.gluon_ssd import gluon_ssd, ssd_names
from tools.gluoncv_importer.detector import DETECTION, import_detector

QUICK = (
    "ssd_300_mobilenet0.25_voc",
    "ssd_300_mobilenet1.0_lite_coco",
    "ssd_300_vgg16_atrous_voc",
    "ssd_300_resnet34_v1b_custom",
    "ssd_512_resnet18_v1_custom",
    "ssd_512_resnet50_v1_voc",
    "ssd_512_mobilenet1.0_voc",
)


def check(name: str, gluon, same, folder, data_shape=None):
    """Import a network and hold what it finds to what gluoncv finds; returns the import."""
    net = gluon.build(name, data_shape)
    detector = gluon_ssd(name)
    names = gluon.classes if name.endswith("_custom") else ()
    imported = import_detector(detector, gluon.save(net, folder), class_names=names, data_shape=data_shape)
    data = gluon.data(imported.card.data_shape)
    found = gluon.found(imported.symbol, imported.params, data)
    for mine, theirs in zip(found, gluon.rows(net, data)):
        same(mine, theirs)
    assert imported.card.class_names == tuple(net.classes)
    assert imported.unknown == ()
    return imported


@pytest.mark.parametrize("name", QUICK)
def test_detections_are_gluoncvs(name, gluon, same, tmp_path):
    imported = check(name, gluon, same, tmp_path)
    kind = FixedAnchors if "_lite_" in name else AnchorConfig
    assert isinstance(imported.card.anchors, kind)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_detections_of_all_the_others_are_gluoncvs(part, gluon, same, tmp_path):
    others = sorted(set(ssd_names()) - set(QUICK))
    assert len(others) > 10
    for name in others[part::4]:
        check(name, gluon, same, tmp_path)


@pytest.mark.parametrize(
    ("name", "data_shape"),
    [
        ("ssd_300_mobilenet0.25_voc", (192, 320)),
        ("ssd_300_mobilenet1.0_lite_coco", (320, 200)),
        ("ssd_300_vgg16_atrous_coco", (260, 320)),
    ],
)
def test_boxes_keep_their_pixels_at_other_input_sizes(name, data_shape, gluon, same, tmp_path):
    assert check(name, gluon, same, tmp_path, data_shape).card.data_shape == data_shape


def test_pictures_give_what_gluoncvs_own_preprocessing_gives(gluon, same, tmp_path):
    net = gluon.build("ssd_300_vgg16_atrous_voc")
    imported = import_detector(gluon_ssd("ssd_300_vgg16_atrous_voc"), gluon.save(net, tmp_path))
    saved = SavedDetector("memory", 0, imported.symbol, *imported.params, imported.card)
    pixels = np.random.default_rng(3).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    tensor = mx.nd.image.normalize(
        mx.nd.image.to_tensor(mx.nd.array(pixels, dtype="uint8")),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    expected = gluon.rows(net, tensor.expand_dims(0))[0]
    found = Detector.from_saved(saved, context=mx.cpu()).detect(pixels, normalised=True)
    same(np.column_stack([found.class_id, found.score, found.boxes]), expected)


@pytest.mark.parametrize("candidates", [1, 30, 60])
def test_candidates_of_all_classes_together_are_as_many_as_gluoncvs(
    candidates, small_net, small_file, gluon, monkeypatch
):
    data = gluon.data((128, 160))
    try:
        small_net.set_nms(nms_topk=candidates)
        expected = gluon.rows(small_net, data)
    finally:
        small_net.set_nms()
    changed = dataclasses.replace(DETECTION, image_topk=candidates)
    monkeypatch.setattr("tools.gluoncv_importer.detector.DETECTION", changed)
    imported = import_detector(
        gluon_ssd("ssd_300_mobilenet0.25_custom"),
        small_file,
        class_names=gluon.classes,
        data_shape=(128, 160),
    )
    for mine, theirs in zip(gluon.found(imported.symbol, imported.params, data), expected):
        assert 0 < len(theirs) < 60
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_default_boxes_of_a_file_count_and_not_those_of_the_name(small_net, gluon, same, tmp_path):
    """Boxes that follow from no sizes and ratios, as of a network that was built with another generator."""
    generator = small_net.anchor_generators[1]
    table = generator.anchors.data().asnumpy()
    other = table.copy()
    other[..., 2::4] *= 1.25  # widths
    other[..., 0::4] += 3  # centres
    data = gluon.data((128, 160))
    try:
        generator.anchors.set_data(mx.nd.array(other))
        path, expected = gluon.save(small_net, tmp_path), gluon.rows(small_net, data)
    finally:
        generator.anchors.set_data(mx.nd.array(table))
    imported = import_detector(
        gluon_ssd("ssd_300_mobilenet0.25_custom"), path, class_names=gluon.classes, data_shape=(128, 160)
    )
    assert isinstance(imported.card.anchors, FixedAnchors)
    for mine, theirs in zip(gluon.found(imported.symbol, imported.params, data), expected):
        same(mine, theirs)
