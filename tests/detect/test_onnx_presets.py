"""Every network in ONNX: the detections of MXNet, on photos where there are some, else on drawn scenes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from common.mx import mx
from common.structures import Detections
from dataset.scenes import draw_scene
from detect.detector import Detector
from detect.preprocess import network_input
from model.card import Card
from model.onnx_export import write_onnx
from model.onnx_file import ExportSettings
from model.saved import SavedDetector
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config, network_names
from tests.symbol.test_every_network import smallest_shape

_GOLDEN = runpy.run_path(str(Path(__file__).parent.parent / "deploy" / "conftest.py"))["golden_params"]
CLASSES = tuple(f"class{number}" for number in range(20))
TIE = 2e-5  # two libraries' scores of a deep network differ by less
CLOSE = 1e-4


def assert_same_detections(found: Detections, expected: Detections, keep_topk: int) -> None:
    """Hold detections (normalised) to others: same classes, boxes and scores; only equal scores may change places.

    Which of those that score like the last one were kept is left open: more of them may have been dropped.
    """
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.score, expected.score, atol=CLOSE)
    ends = [*(np.flatnonzero(-np.diff(expected.score) > TIE) + 1), len(expected)]
    for begin, end in zip([0, *ends], ends):
        if end == len(expected) == keep_topk:
            continue
        left = list(range(begin, end))
        for index in range(begin, end):
            same = [
                other
                for other in left
                if found.class_id[index] == expected.class_id[other]
                and np.abs(found.boxes[index] - expected.boxes[other]).max() <= CLOSE
            ]
            assert same, f"detection {index} of {len(found)} has no counterpart"
            left.remove(same[0])


def random_detector(network: str, data_shape: tuple[int, int], **detection) -> SavedDetector:
    """Return a training checkpoint whose heads are scaled so that there is something to find."""
    config = network_config(network, data_shape, len(CLASSES))
    parts = heads(config)
    args, states = _GOLDEN(parts, data_shape)
    convolutions = [name[:-7] for name in parts.list_arguments() if name.endswith("_pred_conv_weight")]
    outputs = mx.sym.Group([parts.get_internals()[f"{name}_output"] for name in convolutions])
    image = network_input(draw_scene(0, (150, 100))[0], data_shape, config.mean, config.std)
    known = {name: args[name] for name in outputs.list_arguments() if name != "data"}
    found = outputs.bind(mx.cpu(), {**known, "data": mx.nd.array(image[None])}, aux_states=states).forward()
    for name, output in zip(convolutions, found):
        wanted, values = 0.5 if "loc_pred" in name else 2.0, output.asnumpy()
        # Far from the mean, many softmaxes would be 1.0 alike, and NMS keeps one of such by chance.
        spread = max(1e-6, float(values.std()), float(np.abs(values).max()) / 3)
        for ending in ("weight", "bias"):
            args[f"{name}_{ending}"] *= wanted / spread
    graph = training_symbol(parts, len(CLASSES), config.anchors.variances, LossConfig())
    card = Card(
        network=network,
        data_shape=data_shape,
        class_names=CLASSES,
        mean=config.mean,
        std=config.std,
        anchors=config.anchors,
        detection=DetectionConfig(**{"score_threshold": 0.1, **detection}),
    )
    return SavedDetector(network, 1, graph, args, states, card)


def photos_or_scenes(request) -> list:
    """Return pictures: the photos of the outside data, or drawn scenes."""
    try:
        return sorted((request.getfixturevalue("shared_data") / "photos").glob("*.jpg"))
    except pytest.skip.Exception:
        return [draw_scene(seed, (300, 200))[0] for seed in range(6)]


SMALL = [
    *(("ssd7", (96, 128)), ("mobilenet", (128, 160)), ("ssd7_keras", (160, 96)), ("sq-ssd-lite", (96, 96))),
    *(("mb1-ssd-lite", (96, 96)), ("mb3-small-ssd-lite", (300, 300))),
]
LARGE = [
    ("mobilenet", (300, 300)),
    ("resnet50", (300, 300)),
    ("resnet101", (256, 320)),
    ("vgg16_reduced", (300, 300)),
    ("vgg16_reduced", (512, 512)),
    *((name, smallest_shape(name)) for name in network_names() if name not in dict(SMALL)),
]


@pytest.mark.parametrize(
    ("network", "data_shape"),
    [*SMALL, *(pytest.param(*entry, marks=pytest.mark.slow) for entry in LARGE)],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)),
)
def test_network_finds_in_onnx_what_it_finds_in_mxnet(network, data_shape, tmp_path, request):
    saved = random_detector(network, data_shape)
    write_onnx(saved, saved.card, tmp_path / "net.onnx")
    pictures = photos_or_scenes(request)
    expected = Detector.from_saved(saved, context=mx.cpu()).detect(pictures, 1, normalised=True)
    found = Detector(tmp_path / "net.onnx").detect(pictures, normalised=True)
    assert sum(map(len, expected)) > 10 * len(pictures)
    for one, other in zip(found, expected):
        assert_same_detections(one, other, saved.card.detection.keep_topk)


@pytest.mark.parametrize("layout", ["float", "uint8"])
def test_batch_of_three_is_three_images(layout, tmp_path):
    saved = random_detector("ssd7", (96, 128))
    write_onnx(saved, saved.card, tmp_path / "one.onnx")
    write_onnx(saved, saved.card, tmp_path / "any.onnx", ExportSettings(dynamic_batch=True, layout=layout))
    pictures = [draw_scene(seed, (150, 100))[0] for seed in range(5)]
    expected = Detector(tmp_path / "one.onnx").detect(pictures, 4, normalised=True)
    detector = Detector(tmp_path / "any.onnx")
    for batch_size in (1, 3, 5):
        for one, other in zip(detector.detect(pictures, batch_size, normalised=True), expected):
            assert_same_detections(one, other, saved.card.detection.keep_topk)
