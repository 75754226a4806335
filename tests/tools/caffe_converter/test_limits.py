"""What a net may ask for: nets that would take MXNet's memory or minutes, or that it crashes on, are one clear error.

Found by fuzz.py and by going through the limits by hand.
"""

from __future__ import annotations

import itertools
import json
import math
import time

import numpy as np
import pytest
from random_model import write_caffemodel

from common.errors import ConversionError
from tools.caffe_converter import caffemodel, prototxt
from tools.caffe_converter.compare_command import forward
from tools.caffe_converter.convert import convert_graph, convert_model

INPUT = 'input: "data" input_shape {{ dim: 1 dim: 3 dim: {} dim: {} }}\n'
FIRST = (
    'layer {{ name: "first" type: "Convolution" bottom: "data" top: "first"\n'
    "  convolution_param {{ num_output: {} kernel_size: 1 bias_term: false }} }}\n"
)


def net(layers, size=(32, 32), channels=8):
    return INPUT.format(*size) + FIRST.format(channels) + layers


def layer(kind, params="", bottom="first", top="out", name="it"):
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {params} }}\n'


def refused(tmp_path, text):
    """Return the one line that a net is refused with, within 5 seconds."""
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    started = time.perf_counter()
    with pytest.raises(ConversionError) as caught:
        convert_graph(path)
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    return str(caught.value)


def convert(tmp_path, text, weights):
    """Convert a net with weights {layer: blobs}; every layer is written as a Convolution, since nobody reads that."""
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    blobs = [
        (name, "Convolution", [np.asarray(array, np.float32) for array in arrays])
        for name, arrays in weights.items()
    ]
    write_caffemodel(path.with_suffix(".caffemodel"), blobs)
    return convert_model(path, path.with_suffix(".caffemodel"))


FIRST_WEIGHTS = {"first": [np.random.default_rng(0).normal(0, 1, (8, 3, 1, 1))]}
BOXES = "prior_box_param { min_size: 1 min_size: 2 min_size: 3 min_size: 4 }"
ROW = layer("Reshape", "reshape_param { shape { dim: 1 dim: -1 } }", top="row", name="row")
NUMBERS = ", ".join(str(number) for number in range(2, 30_000))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (net(layer("InnerProduct", "inner_product_param { num_output: 2147483647 }")), "would give the shape"),
        (net(layer("InnerProduct", "inner_product_param { num_output: 4294967295 }")), "MXNet refuses its settings"),
        (net(layer("LRN", "lrn_param { alpha: 1e-42 }")), "MXNet refuses its settings"),
        (net(layer("Reshape", "reshape_param { shape { dim: [1, 2, 4, 1, 2, 16, 32] } }")), "7 axes"),
        (net(layer("Reshape", f"reshape_param {{ shape {{ dim: [1{', 1' * 9000}] }} }}")), "cannot reshape"),
        (net(layer("Permute", f"permute_param {{ order: [0{', 1' * 9000}] }}")), "order [0, 1, 1"),
        (net(layer("Pooling", "pooling_param { kernel_size: 9001 pad: 9000 }")), "pad is 9000x9000"),
        (net(layer("Reshape", "reshape_param { shape { dim: -1 } }") + layer("PReLU", "", "out", "p")), "(8192,)"),
        (net("", (16384, 5400), 8), "(1, 8, 16384, 5400)"),
        (net(layer("PriorBox", f"prior_box_param {{ min_size: 3 aspect_ratio: [{NUMBERS}] }}", "first data")), "64"),
        (net(layer("PriorBox", f"prior_box_param {{ min_size: [{NUMBERS}] }}", "first data")), "29998 min_size"),
        (net(layer("PriorBox", "prior_box_param { min_size: 3 offset: 1e38 step: 1e38 }", "first data")), "beyond all"),
        (net(ROW + layer("BatchNorm", "", "row"), (9000, 9000), 1), "not in the caffemodel"),
        (net(ROW + layer("PReLU", "prelu_param { channel_shared: true }", "row"), (9000, 9000), 1), "not in the caffe"),
        (INPUT.format(1, 1).replace("dim: 1 dim", "dim: 1 " * 9000 + "dim") + FIRST.format(1), "x 1 x 1"),
    ],
)  # fmt: skip
def test_nets_beyond_measure_are_refused(tmp_path, text, words):
    assert words in refused(tmp_path, text)


def test_boxes_are_counted_over_the_whole_net(tmp_path):
    layers = [layer("PriorBox", BOXES, "first data", f"p{index}", f"p{index}") for index in range(9)]
    assert "expected at most 2097152" in refused(tmp_path, net("".join(layers), (500, 500)))


@pytest.mark.parametrize("kind", ["boxes", "blobs"])
def test_what_is_joined_with_itself_again_and_again_is_refused(tmp_path, kind):
    first = (
        layer("PriorBox", BOXES, "first data", "0", "p")
        if kind == "boxes"
        else layer("ReLU", top="0", name="p")
    )
    axis = "concat_param { axis: 2 }"
    doubled = "".join(
        layer("Concat", axis, f"{index} {index}", f"{index + 1}", f"c{index}") for index in range(60)
    )
    assert "layer c" in refused(tmp_path, net(first + doubled))


def test_number_of_layers_links_and_words_is_bounded(tmp_path, monkeypatch):
    assert "bottoms and tops" in refused(tmp_path, net(layer("Eltwise", bottom="first " * 20_001)))
    chain = "".join(layer("ReLU", "", "first", f"t{index}", f"t{index}") for index in range(3000))
    assert "3001 layers" in refused(tmp_path, net(chain))
    monkeypatch.setattr(prototxt, "MAX_WORDS", 50)
    assert "words and numbers, expected at most 50" in refused(tmp_path, net(layer("ReLU", top="a") * 4))


def test_long_names_are_compared_in_little_time(tmp_path):
    letters = np.random.default_rng(0).integers(0x4E00, 0x9E00, 50_000)
    name = "".join(map(chr, letters))
    assert "which no layer before it makes" in refused(
        tmp_path, net(layer("ReLU", "", "first", name, name) + layer("ReLU", "", name[:-1]))
    )
    assert "are not supported" in refused(tmp_path, net(layer(name)))
    with pytest.raises(ConversionError, match="has no weights for layer") as caught:
        convert(tmp_path, net("").replace('name: "first"', f'name: "{name}"'), {name[:-1]: [np.ones(3)]})
    assert len(str(caught.value)) < 2000


def test_too_many_classes_are_refused(tmp_path):
    text = net(
        layer("Flatten", "", "first", "row", "row") + layer("PriorBox", BOXES, "first data", "priors", "p")
    )
    params = "detection_output_param { num_classes: 200000000 code_type: CENTER_SIZE }"
    text += layer("DetectionOutput", params, "row row priors")
    assert "num_classes 200000000: expected 1 to 10000" in refused(tmp_path, text)


def test_layers_of_one_name_share_weights_up_to_a_bound(tmp_path, monkeypatch):
    dense = "inner_product_param { num_output: 4 bias_term: false }"
    text = net(
        "".join(layer("InnerProduct", dense, top=f"t{index}", name="dense") for index in range(5)), (2, 2)
    )
    weights = {**FIRST_WEIGHTS, "dense": [np.ones((4, 32))]}
    assert len(convert(tmp_path, text, weights).params[0]) == 6
    monkeypatch.setattr("tools.caffe_converter.weights.MAX_VALUES", 600)
    with pytest.raises(ConversionError, match="asks for 664 weights, expected at most 600"):
        convert(tmp_path, text, weights)


def test_values_of_a_file_are_bounded_before_they_are_turned_into_floats(tmp_path, monkeypatch):
    monkeypatch.setattr(caffemodel, "MAX_VALUES", 1000)
    blobs = [(name, "Convolution", [np.ones(size, np.float32)]) for name, size in (("a", 600), ("b", 401))]
    write_caffemodel(tmp_path / "x.caffemodel", blobs, values="raw_f2")
    with pytest.raises(ConversionError, match="layer b, blob 0: more than 1000 values"):
        caffemodel.read_caffemodel(tmp_path / "x.caffemodel")


@pytest.mark.parametrize(
    "name", ["a\\nb", "nul\\000x", "\\001", 'q\\"', "cls_prob", "multibox_anchors", "detection"]
)
def test_odd_names_of_layers_convert_and_are_one_line_in_messages(tmp_path, name):
    text = net(layer("ReLU", top="mid", name="nul\\000y")).replace('name: "first"', f'name: "{name}"')
    plain = name.encode().decode("unicode_escape")
    model = convert(tmp_path, text, {plain: FIRST_WEIGHTS["first"], "c\nd": [np.ones(2)]})
    names = model.converted.symbol.get_internals().list_outputs()
    assert len(set(names)) == len(names)
    assert not {"cls_prob_output", "multibox_anchors_output", "detection_output"} & set(names)
    json.loads(model.converted.symbol.tojson())
    assert any("c\\nd" in note for note in model.notes)
    assert not any("\n" in note for note in model.notes)
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path, text, {"c\nd": [np.ones(2)]})
    assert "\n" not in str(caught.value)


def pooled(values, kernel, stride, pad, kind):
    """Pool (C, H, W) by the text of Caffe's PoolingLayer; `kernel`, `stride` and `pad` are (y, x)."""
    sizes = values.shape[1:]
    sides = [math.ceil((n + 2 * p - k) / s) + 1 for n, k, s, p in zip(sizes, kernel, stride, pad)]
    out = np.zeros((len(values), *sides), np.float32)
    for cell in itertools.product(*map(range, sides)):
        start = [at * s - p for at, s, p in zip(cell, stride, pad)]
        end = [min(a + k, n + p) for a, k, n, p in zip(start, kernel, sizes, pad)]
        count = math.prod(b - a for a, b in zip(start, end))
        rows, columns = (slice(max(0, a), min(b, n)) for a, b, n in zip(start, end, sizes))
        window = values[:, rows, columns]
        out[:, cell[0], cell[1]] = window.max((1, 2)) if kind == "MAX" else window.sum((1, 2)) / count
    return out


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [((12, 3), (2, 2), (0, 0)), ((15, 17), (4, 5), (1, 1)), ((4, 16), (3, 3), (2, 0))],
)
def test_window_larger_than_the_blob_pools_as_in_caffe(tmp_path, kind, kernel, stride, pad):
    fields = {"kernel": kernel, "stride": stride, "pad": pad}
    text = " ".join(
        f"{field}_{axis}: {value}" for field, pair in fields.items() for axis, value in zip("hw", pair)
    )
    model = convert(
        tmp_path, net(layer("Pooling", f"pooling_param {{ pool: {kind} {text} }}"), (11, 14)), FIRST_WEIGHTS
    )
    image = np.random.default_rng(1).normal(0, 1, (1, 3, 11, 14)).astype(np.float32)
    first = forward(model.converted.graph.blobs["first"].symbol, model.params, image)[0][0]
    (out,) = forward(model.converted.symbol, model.params, image)
    np.testing.assert_allclose(out[0], pooled(first, kernel, stride, pad, kind), rtol=1e-5, atol=1e-6)
