"""The Detector on a network whose answers can be told in advance (see conftest.py)."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
from PIL import Image

from common.errors import CheckpointError, ConfigError, ImageError
from common.mx import mx
from common.structures import Detections
from detect.detector import Detector
from detect.soft_nms import soft_nms
from model.card import Card
from model.graph import anchors_in_graph
from model.saved import SavedDetector, params_path, symbol_path
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from tests.detect.quarters import COLOURS, quarters


def as_set(found):
    """Detections as {(class name, rounded box)}."""
    return {(found.name(i), tuple(np.round(found.boxes[i]).astype(int).tolist())) for i in range(len(found))}


def cpu_detector(saved, **settings):
    return Detector.from_saved(saved, context=mx.cpu(), **settings)


@pytest.mark.parametrize("size", [(160, 120), (64, 64), (100, 80), (1000, 300), (38, 600), (4000, 3000)])
def test_boxes_come_in_pixels_of_the_image_whatever_its_size(toy, size):
    found = cpu_detector(toy).detect(quarters("red", "green", "blue", "black", size=size))
    width, height = size
    assert as_set(found) == {
        ("red", (0, 0, width // 2, height // 2)),
        ("green", (width // 2, 0, width, height // 2)),
        ("blue", (0, height // 2, width // 2, height)),
    }
    assert found.size == size
    assert found.class_names == ("red", "green", "blue")
    np.testing.assert_allclose(found.score, np.exp(5) / (np.exp(5) + 1 + 2 * np.exp(-15)), rtol=2e-3)


def test_normalised_boxes_on_request(toy):
    found = cpu_detector(toy).detect(quarters("black", "green", "", ""), normalised=True)
    np.testing.assert_allclose(found.boxes, [[0.5, 0, 1, 0.5]], atol=1e-6)
    assert found.size is None


def test_paths_arrays_and_grey_are_all_images(toy, tmp_path):
    pixels = quarters("red", "", "", "green")
    path = tmp_path / "bîld.png"
    Image.fromarray(pixels).save(path)
    detector = cpu_detector(toy)
    expected = as_set(detector.detect(pixels))
    assert len(expected) == 2
    assert as_set(detector.detect(path)) == as_set(detector.detect(str(path))) == expected
    grey = [detector.detect(array) for array in (pixels[:, :, 0], pixels[:, :, :1])]
    assert [len(found) for found in grey] == [0, 0]
    batch = detector.detect(np.stack([pixels] * 3))
    assert [as_set(found) for found in batch] == [expected] * 3
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(10, np.uint8),
    ],
)
def test_arrays_that_are_no_images_are_refused(toy, array):
    with pytest.raises(ImageError, match="image 0"):
        cpu_detector(toy).detect(array)


def test_results_do_not_depend_on_the_batch(toy):
    rng = np.random.default_rng(0)
    names = ["red", "green", "blue", ""]
    images = [quarters(*rng.choice(names, 4), size=tuple(rng.integers(40, 200, 2) * 2)) for _ in range(11)]
    detector = cpu_detector(toy)
    alone = [detector.detect(image) for image in images]
    for batch_size in (1, 2, 4, 11, 32):
        for found, expected in zip(detector.detect(images, batch_size), alone):
            assert np.array_equal(found.class_id, expected.class_id)
            assert np.array_equal(found.boxes, expected.boxes)
            np.testing.assert_allclose(found.score, expected.score, rtol=1e-6)


def test_two_devices_give_what_one_gives(toy):
    images = [quarters("red", "", "", "")] * 3 + [quarters("", "blue", "green", "")] * 4
    one = cpu_detector(toy).detect(images, 2)
    two = Detector.from_saved(toy, context=[mx.cpu(0), mx.cpu(1)]).detect(images, 2)
    assert [as_set(found) for found in one] == [as_set(found) for found in two]


def test_executors_are_kept_and_bounded(toy):
    detector = cpu_detector(toy)
    for batch_size in (1, 2, 3, 4, 5, 6, 1):
        detector.detect([quarters("red", "", "", "")] * batch_size, batch_size)
    assert len(detector._executors._bound) <= 4


def test_images_are_not_changed(toy):
    image = quarters("red", "green", "", "")
    before = image.copy()
    cpu_detector(toy).detect([image])
    assert np.array_equal(image, before)


def test_new_parameters_take_effect_in_every_executor(toy):
    detector = cpu_detector(toy)
    image = quarters("red", "", "", "")
    assert detector.detect([image] * 3, 2)[2].name(0) == "red"
    swapped = dict(toy.arg_params)
    swapped["classes_weight"] = mx.nd.array(toy.arg_params["classes_weight"].asnumpy()[[0, 2, 1, 3]])
    detector.set_params(swapped, {})
    assert [found.name(0) for found in detector.detect([image] * 3, 2)] == ["green"] * 3
    assert detector.detect(image).name(0) == "green"
    # the caller's arrays stay its own
    assert toy.arg_params["classes_weight"].asnumpy()[1, 0, 0, 0] == 10


def random_ssd7(seed):
    """The smallest real network, with BatchNorm, random weights and random statistics, in training form."""
    config = network_config("ssd7", (96, 96), 3)
    parts = heads(config)
    symbol = training_symbol(parts, 3, config.anchors.variances, LossConfig())
    arg_shapes, _, aux_shapes = mx.sym.Group([parts[0], parts[1]]).infer_shape(data=(1, 3, 96, 96))
    rng = np.random.default_rng(seed)
    names = [name for name in parts.list_arguments() if name != "data"]
    shapes = [shape for name, shape in zip(parts.list_arguments(), arg_shapes) if name != "data"]
    arg_params = {name: mx.nd.array(rng.normal(0, 0.3, shape)) for name, shape in zip(names, shapes)}
    aux_params = {
        name: mx.nd.array(rng.uniform(0.5, 1.5, shape))
        for name, shape in zip(parts.list_auxiliary_states(), aux_shapes)
    }
    card = Card("ssd7", (96, 96), ("a", "b", "c"), config.mean, config.std, config.anchors)
    return SavedDetector("ssd7", seed, symbol, arg_params, aux_params, card)


def test_detector_with_new_parameters_equals_a_fresh_one():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (70, 90, 3), dtype=np.uint8) for _ in range(3)]
    first, second = random_ssd7(1), random_ssd7(2)
    detector = cpu_detector(first)
    before = detector.detect(images, 2)
    detector.set_params(second.arg_params, second.aux_params)
    changed, fresh = detector.detect(images, 2), cpu_detector(second).detect(images, 2)
    detector.set_params(first.arg_params, first.aux_params)
    for again, old, now, expected in zip(detector.detect(images, 2), before, changed, fresh):
        assert len(expected) > 0
        for name in ("class_id", "score", "boxes"):
            assert np.array_equal(getattr(now, name), getattr(expected, name))
            assert np.array_equal(getattr(again, name), getattr(old, name))
        assert not np.array_equal(old.score, now.score)


def test_new_parameters_that_do_not_fit_are_named(toy):
    detector = cpu_detector(toy)
    with pytest.raises(CheckpointError, match="classes_bias"):
        detector.set_params({k: v for k, v in toy.arg_params.items() if k != "classes_bias"}, {})
    with pytest.raises(CheckpointError, match=r"classes_bias.*\(4,\).*\(5,\)"):
        detector.set_params({**toy.arg_params, "classes_bias": mx.nd.zeros(5)}, {})


@pytest.mark.parametrize("name", ["classes_bias", "boxes_bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error_not_an_empty_result(toy, name, value):
    detector = cpu_detector(toy)
    detector.set_params({**toy.arg_params, name: mx.nd.full(4, value)}, {})
    with pytest.raises(CheckpointError, match="not finite on image 0"):
        detector.detect(quarters("red", "", "", ""))


def test_detection_settings_replace_the_cards(toy):
    image = quarters("red", "red", "", "")
    pale = np.where(image == 255, 140, image).astype(np.uint8)
    assert len(cpu_detector(toy).detect(image)) == 2
    assert len(cpu_detector(toy, keep_topk=1).detect(image)) == 1
    assert len(cpu_detector(toy, score_threshold=0.9).detect(pale)) == 0
    assert len(cpu_detector(toy, score_threshold=0.2).detect(pale)) == 2
    assert cpu_detector(toy, nms_mode="multibox").card.detection.nms_mode == "multibox"
    assert toy.card.detection.keep_topk == 200


def test_unknown_setting_is_an_error_with_the_closest_name(toy):
    with pytest.raises(ConfigError, match=r"'nms_treshold'.*did you mean nms_threshold"):
        cpu_detector(toy, nms_treshold=0.3)
    with pytest.raises(ConfigError, match="nms_threshold"):
        cpu_detector(toy, nms_threshold=7)
    with pytest.raises(ConfigError, match="batch_size is 0, expected"):
        cpu_detector(toy, batch_size=0)


def test_wrong_number_of_class_names_is_an_error(toy):
    with pytest.raises(CheckpointError, match="made for 3 classes, but there are 2"):
        cpu_detector(toy, class_names=("a", "b"))


def test_other_input_size_is_refused_where_default_boxes_have_fixed_steps(toy):
    anchors = dataclasses.replace(toy.card.anchors, steps=((0.5, 0.5),))
    fixed = dataclasses.replace(toy, card=dataclasses.replace(toy.card, anchors=anchors))
    with pytest.raises(CheckpointError, match=r"64x64, not 128x128"):
        cpu_detector(fixed, data_shape=(128, 128))
    for shape in ((128, 128), [128, 128], 128):
        assert cpu_detector(toy, data_shape=shape).card.data_shape == (128, 128)
    with pytest.raises(ConfigError, match=r"mean is \(1, 2\), expected 3 numbers"):
        cpu_detector(toy, mean=(1, 2))


def test_deployed_graph_runs_as_it_is(toy):
    from model.graph import inference_symbol

    card = dataclasses.replace(toy.card, graph="deployed")
    symbol = inference_symbol(toy.symbol, 3, card.anchors.variances, card.detection)
    deployed = dataclasses.replace(toy, symbol=symbol, card=card)
    image = quarters("red", "green", "", "blue")
    assert as_set(cpu_detector(deployed).detect(image)) == as_set(cpu_detector(toy).detect(image))
    assert (
        len(cpu_detector(deployed, keep_topk=1).detect(image)) == 1
    )  # its heads are there, so its tail can change


def old_graph(prefix):
    """A deployed graph as mxnet-ssd wrote it, from the toy; `prefix` begins the names of the heads."""
    pooled = mx.sym.Pooling(mx.sym.Variable("data"), kernel=(32, 32), stride=(32, 32), pool_type="avg")
    classes = mx.sym.Convolution(pooled, num_filter=4, kernel=(1, 1), name="classes")
    boxes = mx.sym.Convolution(pooled, num_filter=4, kernel=(1, 1), name="boxes")
    boxes = mx.sym.Flatten(mx.sym.transpose(boxes, axes=(0, 2, 3, 1)), name=f"{prefix}_loc_pred")
    anchors = mx.sym.contrib.MultiBoxPrior(pooled, sizes=(0.5,), ratios=(1.0,), name="pool_anchors")
    classes = mx.sym.reshape(classes, shape=(0, 0, -1), name=f"{prefix}_cls_pred")
    return mx.sym.contrib.MultiBoxDetection(
        mx.sym.SoftmaxActivation(classes, mode="channel", name="cls_prob"),
        boxes,
        mx.sym.reshape(anchors, shape=(1, -1, 4), name=f"{prefix}_anchors"),
        name="detection",
        nms_threshold=0.5,
        variances=(0.1, 0.1, 0.2, 0.2),
        nms_topk=400,
    )


STATED = {"data_shape": (64, 64), "class_names": tuple(COLOURS), "mean": (0, 0, 0), "std": (255, 255, 255)}


@pytest.mark.parametrize("names", ["multibox", "other"])
def test_old_files_without_card_load_with_what_it_would_say(toy, tmp_path, names):
    prefix = tmp_path / "ssd_toy_64"
    symbol_path(prefix).write_text(old_graph(names).tojson())
    mx.nd.save(str(params_path(prefix, 0)), {f"arg:{k}": v for k, v in toy.arg_params.items()})
    detector = Detector(prefix, 0, context=mx.cpu(), **STATED)
    image = quarters("red", "", "green", "blue")
    assert as_set(detector.detect(image)) == as_set(cpu_detector(toy).detect(image))
    with pytest.raises(CheckpointError, match=r"no card.*--data-shape, --class-names"):
        Detector(prefix, 0, context=mx.cpu())
    if names == "other":  # without the names of the heads the tail cannot be changed
        with pytest.raises(ConfigError, match="built into the graph"):
            Detector(prefix, 0, context=mx.cpu(), nms_threshold=0.3, **STATED)
    else:
        assert len(Detector(prefix, 0, context=mx.cpu(), keep_topk=2, **STATED).detect(image)) == 2


def test_default_boxes_are_read_from_the_graph(toy):
    config = anchors_in_graph(toy.symbol)
    assert (config.sizes, config.ratios, config.clip) == (((0.5,),), ((1.0,),), False)
    assert config.variances == (0.1, 0.1, 0.2, 0.2)
    assert anchors_in_graph(mx.sym.Variable("data")) is None


def test_stream_leaves_out_what_cannot_be_decoded_and_keeps_the_order(toy, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    images = [
        quarters("red", "", "", ""),
        broken,
        quarters("", "green", "", ""),
        tmp_path / "missing.jpg",
    ] * 5
    errors = []
    detector = cpu_detector(toy)
    results = list(
        detector.stream(images, 4, on_error=lambda index, error: errors.append((index, str(error))))
    )
    assert [result.index for result in results] == [i for i in range(20) if i % 2 == 0]
    assert [result.detections.name(0) for result in results] == ["red", "green"] * 5
    assert [index for index, _ in errors] == list(range(1, 20, 2))
    assert "broken.jpg" in errors[0][1]
    with pytest.raises(ImageError, match="broken"):
        list(detector.stream(images, 4))


def test_stream_takes_endless_sources_and_can_be_left(toy):
    def endless():
        while True:
            yield quarters("red", "", "", "")

    before = threading.active_count()
    stream = cpu_detector(toy).stream(endless(), 2)
    assert [next(stream).index for _ in range(5)] == list(range(5))
    stream.close()
    deadline = time.monotonic() + 10  # the decoding threads end on their own, once their pictures are done
    while threading.active_count() > before + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before + 1


def test_several_detectors_in_several_threads(toy):
    images = [quarters("red", "", "", ""), quarters("", "blue", "", "")] * 8
    expected = [as_set(found) for found in cpu_detector(toy).detect(images)]
    results = {}

    def work(number):
        results[number] = [as_set(found) for found in cpu_detector(toy).detect(images, 3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == dict.fromkeys(range(4), expected)


def test_graph_that_is_no_detector_is_refused(toy):
    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    with pytest.raises(CheckpointError, match="toy, epoch 1"):
        cpu_detector(SavedDetector("toy", 1, symbol, {}, {}, toy.card))


# ---- soft-NMS


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("class_id", "score", "boxes")
    )


@pytest.mark.parametrize("settings", [{}, {"nms_mode": "multibox"}, {"force": True}])
def test_soft_nms_lowers_what_nms_drops(settings):
    rng = np.random.default_rng(
        0
    )  # of sides that are powers of 2: pixels are exact multiples of normalised boxes
    images = [rng.integers(0, 256, (64, 128, 3), dtype=np.uint8) for _ in range(5)]
    every = {"score_threshold": 0.05, "nms_topk": -1, "keep_topk": -1, **settings}
    saved = random_ssd7(3)
    candidates = cpu_detector(saved, soft_nms_sigma=1e20, **every)  # so wide a bell lowers nothing
    hard, soft = cpu_detector(saved, **every), cpu_detector(saved, soft_nms_sigma=0.5, **every)
    few = cpu_detector(saved, soft_nms_sigma=0.5, **{**every, "keep_topk": 7})
    results = [detector.detect(images, 2) for detector in (candidates, hard, soft, few)]
    for every_one, kept, found, best in zip(*results):
        assert len(kept) < len(every_one)
        assert {tuple(box) for box in kept.boxes.tolist()} <= {tuple(box) for box in every_one.boxes.tolist()}
        rows = np.c_[every_one.class_id, every_one.score, every_one.boxes].astype(np.float32)
        rows = soft_nms(rows, sigma=0.5, score_threshold=0.05, force=settings.get("force", False))
        assert same(found, Detections.from_rows(rows))
        assert same(best, found.select(slice(0, 7)))


def test_soft_nms_leaves_predictions_and_lone_objects_as_they_are(toy):
    image = quarters("red", "", "green", "blue")
    (hard,) = cpu_detector(toy, predictions=True).stream([image])
    (soft,) = cpu_detector(toy, soft_nms_sigma=0.5, predictions=True).stream([image])
    assert same(hard.detections, soft.detections)
    assert len(soft.predictions) == 2
    for one, other in zip(hard.predictions, soft.predictions):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("sigma", [None, 0, 0.0])
def test_soft_nms_that_is_off_changes_no_graph(toy, sigma):
    detector = cpu_detector(toy, soft_nms_sigma=sigma)
    assert detector.soft_nms_sigma is None
    assert detector._plan.symbol.tojson() == cpu_detector(toy)._plan.symbol.tojson()


@pytest.mark.parametrize("sigma", [-1, float("nan"), float("inf"), True, "0.5"])
def test_a_sigma_that_cannot_be_is_refused(toy, sigma):
    with pytest.raises(ConfigError, match="soft_nms_sigma is .*above 0"):
        cpu_detector(toy, soft_nms_sigma=sigma)
    with pytest.raises(ConfigError, match="'soft_nms'.*did you mean soft_nms_sigma"):
        cpu_detector(toy, soft_nms=0.5)


def test_soft_nms_works_on_a_deployed_graph_and_not_on_one_without_heads(toy, tmp_path):
    from model.graph import inference_symbol

    card = dataclasses.replace(toy.card, graph="deployed")
    symbol = inference_symbol(toy.symbol, 3, card.anchors.variances, card.detection)
    image = quarters("red", "", "green", "blue")
    deployed = cpu_detector(dataclasses.replace(toy, symbol=symbol, card=card), soft_nms_sigma=0.5)
    assert as_set(deployed.detect(image)) == as_set(cpu_detector(toy).detect(image))
    foreign = dataclasses.replace(toy, symbol=old_graph("other"))
    with pytest.raises(ConfigError, match="soft_nms_sigma: NMS is built into the graph of toy.*checkpoint"):
        cpu_detector(foreign, soft_nms_sigma=0.5)
    assert len(cpu_detector(foreign, soft_nms_sigma=0).detect(image)) == 3


def test_soft_nms_is_refused_for_onnx_files(toy, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx_export = pytest.importorskip("model.onnx_export")
    onnx_export.write_onnx(toy, toy.card, tmp_path / "toy.onnx")
    with pytest.raises(ConfigError, match="soft_nms_sigma: NMS is built into .*toy.onnx"):
        Detector(tmp_path / "toy.onnx", soft_nms_sigma=0.5)
    assert len(Detector(tmp_path / "toy.onnx", soft_nms_sigma=0).detect(quarters("red", "", "", "blue"))) == 2


def test_one_detector_answers_several_threads_each_its_own_picture(toy):
    """As a web server's handlers call it."""
    detector = cpu_detector(toy)
    names = [
        ("red", "black", "black", "black"),
        ("black", "green", "black", "black"),
        ("black", "black", "blue", "black"),
    ]
    pictures = [quarters(*colours) for colours in names]
    expected = [as_set(detector.detect(picture)) for picture in pictures]
    wrong = []

    def ask(number):
        for turn in range(20):
            which = (number + turn) % len(pictures)
            if as_set(detector.detect(pictures[which])) != expected[which]:
                wrong.append((number, turn))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- optimised and quantised detectors


def faster(toy):
    """The detector as deploy.py writes it, with constant default boxes."""
    from model.graph import inference_symbol
    from model.optimize import optimize

    symbol = inference_symbol(toy.symbol, 3, toy.card.anchors.variances, toy.card.detection)
    made = optimize(symbol, (toy.arg_params, toy.aux_params), toy.card.data_shape, "toy")
    card = dataclasses.replace(toy.card, graph="deployed")
    return SavedDetector("toy", 1, made.symbol, *made.params, card)


def test_an_optimised_detector_finds_the_same(toy):
    image = quarters("red", "", "green", "blue")
    found, expected = cpu_detector(faster(toy)).detect(image), cpu_detector(toy).detect(image)
    assert np.array_equal(found.class_id, expected.class_id)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


def test_an_optimised_detector_says_that_its_input_size_is_fixed(toy):
    height, width = toy.card.data_shape
    with pytest.raises(CheckpointError, match=f"made faster for an input of {height}x{width}.*--no-optimize"):
        cpu_detector(faster(toy), data_shape=(height + 32, width))
    assert cpu_detector(toy, data_shape=(height + 32, width)).card.data_shape == (height + 32, width)


def test_a_quantised_detector_is_for_cpus(toy):
    card = dataclasses.replace(toy.card, quantization={"dtype": "int8"})
    with pytest.raises(ConfigError, match="toy, epoch 1: is quantised, for CPUs: give --cpu"):
        Detector.from_saved(dataclasses.replace(toy, card=card), context=mx.gpu())
