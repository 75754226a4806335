"""PriorBox and DetectionOutput with all their options, against Caffe's rules in numpy, and OpenCV where it can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import prototxts
import pytest
from caffe_oracle import detection_output, prior_box, unmatched
from prototxts import Options, Output, Priors
from random_model import write_random_caffemodel
from test_architectures import caffe_rows, convert, picture, run
from test_layers import layer, write

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.compare_command import forward
from tools.caffe_converter.convert import convert_graph, convert_model
from tools.caffe_converter.opencv import OpenCVNet, detections_of

SMALL = Options(size=(300, 300), num_classes=4, width=0.125)


def boxes_of(tmp_path, params, cells=(5, 7), image=(100, 140), **options):
    """Return the boxes of a PriorBox layer on a map of that many cells, as the graph makes them, and its blob."""
    height, width = image[0] // cells[0], image[1] // cells[1]
    pool = f"kernel_h: {height} kernel_w: {width} stride_h: {height} stride_w: {width}"
    layers = layer("Pooling", f"pooling_param {{ {pool} }}", top="map", name="p")
    layers += layer("PriorBox", f"prior_box_param {{ {params} }}", "map data", "out")
    layers += layer("ReLU", "", "map", "other", name="r")  # an output that needs the image
    path, weights = write(tmp_path, layers, image), tmp_path / "net.caffemodel"
    write_random_caffemodel(path, weights, 1)
    model = convert_model(path, weights, every_layer=True, **options)
    priors = model.converted.graph.blobs["out"]
    picture = np.zeros((1, 3, *image), np.float32)
    rows = forward(mx.sym.Group([symbol for symbol, _, _ in priors.parts]), model.params, picture)
    assert (
        np.abs(rows[0][0] - priors.parts[0][1]).max() < 1e-6
    )  # the graph's boxes are those of the numpy side
    return rows[0][0], priors


CASES = [
    ("min_size: 30", {"min_sizes": [30]}),
    ("min_size: 30 max_size: 60", {"min_sizes": [30], "max_sizes": [60]}),
    (
        "min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3",
        {"min_sizes": [30], "max_sizes": [60], "ratios": [2, 3]},
    ),
    ("min_size: 30 aspect_ratio: 2 flip: false", {"min_sizes": [30], "ratios": [2], "flip": False}),
    ("min_size: 30 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 2", {"min_sizes": [30], "ratios": [1, 2, 2]}),
    ("min_size: 30 aspect_ratio: 2 aspect_ratio: 0.5", {"min_sizes": [30], "ratios": [2, 0.5]}),
    ("min_size: 10 min_size: 16 min_size: 24", {"min_sizes": [10, 16, 24]}),
    ("min_size: 10 min_size: 24 aspect_ratio: 2", {"min_sizes": [10, 24], "ratios": [2]}),
    (
        "min_size: 10 min_size: 24 max_size: 20 max_size: 40 aspect_ratio: 1.5",
        {"min_sizes": [10, 24], "max_sizes": [20, 40], "ratios": [1.5]},
    ),
    ("min_size: 90 clip: true", {"min_sizes": [90], "clip": True}),
    ("min_size: 30 step: 16", {"min_sizes": [30], "step": (16, 16)}),
    ("min_size: 30 step_h: 20 step_w: 16", {"min_sizes": [30], "step": (20, 16)}),
    ("min_size: 30 offset: 0", {"min_sizes": [30], "offset": 0.0}),
    ("min_size: 30 offset: 0.25", {"min_sizes": [30], "offset": 0.25}),
]  # fmt: skip


@pytest.mark.parametrize(("params", "expected"), CASES)
@pytest.mark.parametrize("shape", [((5, 5), (100, 100)), ((5, 7), (100, 140)), ((4, 10), (100, 140))])
def test_boxes_equal_caffes(tmp_path, params, expected, shape):
    cells, image = shape
    found, _ = boxes_of(tmp_path, params, cells, image)
    np.testing.assert_allclose(found, prior_box(cells, image, **expected), atol=1e-6)


def test_sizes_are_cut_to_whole_pixels_as_caffe_does_or_kept_as_opencv_does(tmp_path):
    params = "min_size: 35.84 max_size: 76.8 aspect_ratio: 2"
    cut, _ = boxes_of(tmp_path, params)
    np.testing.assert_allclose(
        cut, prior_box((5, 7), (100, 140), min_sizes=[35], max_sizes=[76], ratios=[2]), atol=1e-6
    )
    kept, _ = boxes_of(tmp_path, params, truncate_sizes=False)
    expected = prior_box((5, 7), (100, 140), min_sizes=[35.84], max_sizes=[76.8], ratios=[2])
    np.testing.assert_allclose(kept, expected, atol=1e-6)


def test_image_size_of_the_layer_goes_before_the_inputs(tmp_path):
    found, _ = boxes_of(tmp_path, "min_size: 30 img_h: 200 img_w: 300")
    np.testing.assert_allclose(found, prior_box((5, 7), (200, 300), min_sizes=[30]), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0.1,) * 4),
        ("variance: 0.3", (0.3,) * 4),
        ("variance: 1 variance: 2 variance: 3 variance: 4", (1, 2, 3, 4)),
    ],
)
def test_variances(tmp_path, text, expected):
    _, priors = boxes_of(tmp_path, f"min_size: 30 {text}")
    np.testing.assert_allclose(priors.parts[0][2], expected, rtol=1e-6)
    np.testing.assert_allclose(priors.array()[0, 1, :4], expected, rtol=1e-6)


def check(tmp_path, options, *, opencv=True):
    """Convert a small net with those options and hold its detections to numpy's, and to OpenCV's."""
    net, path, weights = prototxts.ARCHITECTURES["mobilenet_ssd"], tmp_path / "net.prototxt", tmp_path / "w"
    # The writer runs OpenCV to scale the heads; it gets options that OpenCV takes.
    path.write_text(net(replace(options, output=Output(), priors=replace(options.priors, variances=(1.0,)))))
    write_random_caffemodel(path, weights, 1)
    path.write_text(net(options))
    model, theirs = convert_model(path, weights), OpenCVNet(path, weights) if opencv else None
    heads, image = model.converted.heads, picture(model)
    rows, loc, scores, anchors = run(model, image)
    mine = caffe_rows(rows, heads.labels)
    output = options.output
    # Straight from the net's own blobs, background wherever it is.
    names = ("mbox_conf_flatten", "mbox_loc")
    blobs = model.converted.graph.blobs
    conf, raw_loc = forward(
        mx.sym.Group([mx.sym.identity(blobs[name].symbol) for name in names]), model.params, image
    )
    variances = np.concatenate([np.tile(v, (len(boxes), 1)) for _, boxes, v in blobs["mbox_priorbox"].parts])
    expected = detection_output(
        raw_loc.reshape(-1, 4),
        conf.reshape(-1, options.num_classes),
        anchors,
        np.ones(4) if output.variance_encoded_in_target else variances,
        background=0 if output.background_label_id is None else output.background_label_id,
        threshold=0 if output.confidence_threshold is None else output.confidence_threshold,
        nms=0.3 if output.nms_threshold is None else output.nms_threshold,
        top_k=-1 if output.top_k is None else output.top_k,
        keep_top_k=-1 if output.keep_top_k is None else output.keep_top_k,
        clip=bool(output.clip),
    )
    assert len(mine) > 3
    assert unmatched(mine, expected) == ([], [])
    if opencv:
        blob = theirs.forward(image[:, ::-1], [theirs.name_of(heads.layer)])[0]
        assert unmatched(mine, detections_of(blob)) == ([], [])
    return model


FIXED = replace(SMALL, priors=Priors(clip=False))


@pytest.mark.parametrize(
    ("output", "opencv"),
    [
        (Output(), True),
        (Output(confidence_threshold=0.2), True),
        (Output(nms_threshold=0.6), True),
        (Output(nms_threshold=None), False),
        (Output(nms_threshold=0.0), False),
        (Output(top_k=20), True),
        (Output(top_k=None, keep_top_k=1000), False),
        (Output(keep_top_k=7), True),
        (Output(keep_top_k=-1, confidence_threshold=0.1), False),
        (Output(background_label_id=2), True),
        (Output(background_label_id=3), True),
        (Output(background_label_id=-1), False),
        (Output(clip=True), True),
        (Output(eta=0.9), False),
        (Output(variance_encoded_in_target=True), False),
    ],
)
def test_detections_equal_caffes_with_every_option(tmp_path, output, opencv):
    check(tmp_path, replace(FIXED, output=output), opencv=opencv)


@pytest.mark.parametrize(
    "priors",
    [
        Priors(clip=False, variances=(), max_sizes=False),
        Priors(clip=False, variances=(0.1,)),
        Priors(clip=False, other_variances=(0.2, 0.1, 0.3, 0.2)),
        Priors(clip=True),
        Priors(clip=False, step=False, offset=None, max_sizes=False, ratios=(2.0,)),
        Priors(clip=False, min_sizes=((20, 40), (60, 80), (100, 140))),
    ],
)
def test_detections_equal_caffes_with_other_boxes(tmp_path, priors):
    check(tmp_path, replace(SMALL, priors=priors), opencv=bool(priors.variances))


@pytest.mark.parametrize("size", [(240, 400), (480, 320)])
def test_other_input_than_square(tmp_path, size):
    model = check(tmp_path, replace(FIXED, size=size))
    assert model.converted.data_shape == size


def test_several_images_at_once_equal_one_by_one(tmp_path):
    model, _ = convert(tmp_path, prototxts.ARCHITECTURES["vgg_ssd300"](SMALL))
    images = picture(model, batch=3)
    together = forward(model.converted.symbol, model.params, images)[0]
    assert together.shape[0] == 3
    for index in range(3):
        alone = forward(model.converted.symbol, model.params, images[index : index + 1])[0][0]
        assert (alone[:, 0] >= 0).sum() > 3
        np.testing.assert_allclose(together[index], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Output(code_type=None), "code_type is not CENTER_SIZE"),
        (Output(code_type="CORNER_SIZE"), "code_type is not CENTER_SIZE"),
        (Output(share_location=False), "share_location false"),
        (Output(eta=0.9, nms_threshold=0.6), "eta 0.9 with nms_threshold 0.6"),
        (Output(nms_threshold=1.0), "nms_threshold is 1.0, expected a number from 0 to below 1"),
        (Output(top_k=0), "nms_topk is 0"),
        (Output(background_label_id=4), "background_label_id 4: expected -1 to 3"),
        (Output(confidence_threshold=1.5), "score_threshold is 1.5"),
    ],
)
def test_what_the_tail_cannot_do_is_refused(tmp_path, output, words):
    path = tmp_path / "net.prototxt"
    path.write_text(prototxts.ARCHITECTURES["mobilenet_ssd"](replace(SMALL, output=output)))
    with pytest.raises(
        ConversionError, match=r"net.prototxt:\d+: layer detection_out \(DetectionOutput\)"
    ) as caught:
        convert_graph(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_classes: 4", "num_classes: 5", "mbox_conf_flatten has"),
        ("aspect_ratio: 2\n", "", "numbers an image, expected"),
        (
            '"mbox_priorbox"\n  top: "detection_out"',
            '"mbox_loc"\n  top: "detection_out"',
            "is not made by PriorBox",
        ),
    ],
)
def test_heads_that_do_not_fit_the_boxes_are_refused(tmp_path, old, new, words):
    text = prototxts.ARCHITECTURES["mobilenet_ssd"](SMALL)
    path = tmp_path / "net.prototxt"
    if old not in text:
        pytest.skip(f"the generator does not write {old!r} so")
    path.write_text(text.replace(old, new))
    with pytest.raises(ConversionError) as caught:
        convert_graph(path)
    assert words in str(caught.value)
