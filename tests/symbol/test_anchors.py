"""Default boxes: the numpy geometry against MultiBoxPrior, and what a wrong setting says."""

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import AnchorConfig, FixedAnchors, anchors_from_dict, generate_anchors


def operator_anchors(config, shapes):
    """Return what MultiBoxPrior makes of the settings: (A, 4)."""
    maps = [
        mx.nd.contrib.MultiBoxPrior(
            mx.nd.zeros((1, 1, *shape)),
            sizes=config.sizes[index],
            ratios=config.ratios[index],
            steps=config.step(index),
            offsets=config.offsets,
            clip=config.clip,
        )
        for index, shape in enumerate(shapes)
    ]
    return np.concatenate([boxes.asnumpy()[0] for boxes in maps])


def random_config(rng):
    maps = rng.integers(1, 5)
    sizes = [rng.uniform(0.02, 1.2, rng.integers(1, 4)) for _ in range(maps)]
    ratios = [rng.uniform(0.2, 5, rng.integers(1, 6)) for _ in range(maps)]
    steps = [(-1, -1) if rng.random() < 0.3 else tuple(rng.uniform(0.01, 0.9, 2)) for _ in range(maps)]
    offsets = tuple(rng.uniform(0, 1, 2))
    config = AnchorConfig(sizes, ratios, steps if rng.random() < 0.7 else (), offsets, rng.random() < 0.3)
    return config, [tuple(int(v) for v in rng.integers(1, 24, 2)) for _ in range(maps)]


def test_geometry_equals_the_operator_for_random_settings():
    rng = np.random.default_rng(3)
    for _ in range(150):
        config, shapes = random_config(rng)
        expected = operator_anchors(config, shapes)
        found = generate_anchors(config, shapes)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=5e-6)


def test_one_cell_gives_the_boxes_of_the_paper_in_order():
    config = AnchorConfig(sizes=((0.2, 0.3),), ratios=((1, 4, 0.25),))
    expected = [
        [0.4, 0.4, 0.6, 0.6],
        [0.35, 0.35, 0.65, 0.65],
        [0.3, 0.45, 0.7, 0.55],
        [0.45, 0.3, 0.55, 0.7],
    ]
    np.testing.assert_allclose(generate_anchors(config, [(1, 1)]), expected, atol=1e-6)


def test_a_square_of_a_wide_map_stays_square_in_pixels():
    box = generate_anchors(AnchorConfig(sizes=((0.2,),), ratios=((1,),)), [(3, 4)])[0]
    width, height = (box[2] - box[0]) * 400, (box[3] - box[1]) * 300
    assert width == pytest.approx(60, abs=1e-3)
    assert height == pytest.approx(60, abs=1e-3)


def test_ssd_keras_default_boxes_come_out(shared_golden):
    steps = [(v / 300, v / 300) for v in (8, 16, 32, 64, 100, 300)]
    scales = np.array([0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05])
    sizes = [(s, float(np.sqrt(s * t))) for s, t in zip(scales, scales[1:])]
    three, five = (1, 2, 0.5), (1, 2, 0.5, 3, 1 / 3)
    config = AnchorConfig(sizes, (three, five, five, five, three, three), steps)
    found = generate_anchors(config, [(n, n) for n in (38, 19, 10, 5, 3, 1)])
    golden = np.load(shared_golden / "anchors.npz")["ssd_keras_300_voc"]
    assert golden.shape == found.shape
    # Within a cell the systems order boxes differently; compare each cell's boxes as a set.
    np.testing.assert_allclose(
        np.sort(found[:, 2] - found[:, 0]), np.sort(golden[:, 2] - golden[:, 0]), atol=1e-4
    )
    np.testing.assert_allclose(found.sum(axis=0), golden.sum(axis=0), rtol=1e-4)


def test_a_single_list_of_ratios_serves_every_map():
    config = AnchorConfig(sizes=((0.1,), (0.2, 0.3), (0.5,)), ratios=((1, 2, 0.5),))
    assert config.ratios == ((1.0, 2.0, 0.5),) * 3
    assert config.per_cell() == (3, 4, 3)


def test_settings_survive_json():
    config = AnchorConfig(((0.1, 0.2), (0.5,)), ((1, 2), (1,)), ((-1, -1), (0.2, 0.1)), (0.4, 0.6), True)
    assert AnchorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": ()}, "sizes is empty"),
        ({"sizes": ((),)}, "sizes: expected one or more"),
        ({"sizes": ((0.1, 0),)}, "sizes: expected one or more numbers above 0, found .0.1, 0.0."),
        ({"sizes": (("big",),)}, "expected a list of numbers"),
        ({"sizes": (0.1, 0.2)}, "expected a list of numbers"),
        ({"sizes": ((float("nan"),),)}, "finite"),
        ({"sizes": ((0.1,),) * 3, "ratios": ((1,), (1,))}, "ratios has 2 entries, expected 3"),
        ({"sizes": ((0.1,),), "ratios": ((-1,),)}, "ratios: expected one or more numbers above 0"),
        ({"sizes": ((0.1,),) * 2, "steps": ((0.1, 0.1),)}, "steps has 1 entries, expected 2"),
        ({"sizes": ((0.1,),), "steps": ((0.1, -1),)}, "both above 0 or both -1"),
        ({"sizes": ((0.1,),), "steps": 0}, "both above 0 or both -1"),
        ({"sizes": ((0.1,),), "variances": (0.1, 0.2)}, "variances has 2 numbers, expected 4"),
        (
            {"sizes": ((0.1,),), "variances": (0.1, 0.1, 0, 0.2)},
            "variances: expected one or more numbers above 0",
        ),
        ({"sizes": ((0.1,),), "offsets": (0.5,)}, "offsets has 1 numbers, expected 2"),
    ],
)
def test_an_impossible_setting_says_what_was_found_and_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        AnchorConfig(**settings)


def test_one_step_number_counts_for_both_directions():
    assert AnchorConfig(((0.1,), (0.2,)), steps=(0.25, -1)).steps == ((0.25, 0.25), (-1.0, -1.0))


def test_unknown_setting_suggests_the_known_one():
    with pytest.raises(ConfigError, match="did you mean ratios"):
        AnchorConfig.from_dict({"sizes": [[0.1]], "ratio": [[1]]})
    with pytest.raises(ConfigError, match="sizes is missing"):
        AnchorConfig.from_dict({})


def test_wrong_number_of_maps_says_found_and_expected():
    with pytest.raises(ConfigError, match="sizes has 1 lists, expected 2"):
        generate_anchors(AnchorConfig(((0.1,),)), [(4, 4), (2, 2)])


def test_boxes_of_a_converted_model_survive_json():
    for anchors in (FixedAnchors(8732, (0.1, 0.1, 0.2, 0.3)), AnchorConfig(((0.2, 0.3),))):
        assert anchors_from_dict(json.loads(json.dumps(anchors.to_dict()))) == anchors
    assert FixedAnchors(1).for_one_size
    assert AnchorConfig(((0.2,),), steps=((0.1, 0.1),)).for_one_size
    assert not AnchorConfig(((0.2,),)).for_one_size
    for wrong in (
        {"count": 0},
        {"count": 2.5},
        {"count": 3, "variances": [1, 1]},
        {"count": 3, "sizes": [[1]]},
    ):
        with pytest.raises(ConfigError):
            anchors_from_dict(wrong)


SQUARE = {"sizes": ((0.1, 0.2),), "ratios": ((1, 2),)}  # three boxes in a cell


@pytest.mark.parametrize(
    "order", [(0, 2), (0, 1, 2, 3), (0, 0, 1), (0, 1, 3), ("a", 1, 2), ([0], 1, 2), (0.0, 1.0, 2.0)]
)
def test_order_that_is_none_of_a_cell_s_boxes_is_refused(order):
    with pytest.raises(ConfigError, match="order is .*each once; the maps have 3"):
        AnchorConfig(**SQUARE, order=order)


@pytest.mark.parametrize("name", ["clip", "clamp", "exact_aspect"])
@pytest.mark.parametrize("value", ["no", "False", 0, None])
def test_switch_that_is_neither_true_nor_false_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value!r}, expected true or false"):
        AnchorConfig(**SQUARE, **{name: value})
