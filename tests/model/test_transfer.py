"""What of one detector's parameters goes where in another's: parts by graph alone, class rows against numpy."""

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.class_rows import match_classes, move_rows
from model.graph import num_classes_of
from model.new_classes import with_classes
from model.transfer import carry_over, class_heads_of, parts_of
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config

SHAPE = (96, 96)


def ssd(network="ssd7", num_classes=5, shape=SHAPE):
    return heads(network_config(network, shape, num_classes))


def trained(symbol, num_classes=5):
    return training_symbol(symbol, num_classes, (0.1, 0.1, 0.2, 0.2), LossConfig())


# ---- classes


def test_classes_match_by_their_exact_names_but_for_blanks_around():
    match = match_classes([" cat", "dog", "cow"], ["dog", "cat ", "Cow"])
    assert match.kept == ("dog", "cat")
    assert match.added == ("Cow",)
    assert match.dropped == ("cow",)
    assert match.rows() == [0, 2, 1, None]


@pytest.mark.parametrize(
    ("old", "new"), [("car", "Car"), ("tv monitor", "tv_monitor"), ("hot-dog", "hotdog")]
)
def test_names_that_spelling_alone_keeps_apart_are_told_and_not_taken(old, new):
    match = match_classes(["person", old], [new])
    assert match.nearly == ((new, old),)
    assert match.kept == ()


def test_class_that_would_match_two_rows_is_refused():
    with pytest.raises(ConfigError, match="'cat' stands twice"):
        match_classes(["cat", "dog", "cat "], ["cat"])


def rows_in_numpy(old, new, old_names, new_names):
    """The rows one by one, as the sentence says them: index k * (classes + 1) + class, background first."""
    result = new.copy()
    for box in range(len(old) // (len(old_names) + 1)):
        for place, name in enumerate(["", *new_names]):
            if name == "" or name in old_names:
                there = 0 if name == "" else 1 + old_names.index(name)
                result[box * (len(new_names) + 1) + place] = old[box * (len(old_names) + 1) + there]
    return result


@pytest.mark.parametrize("tail", [(), (7, 3, 3)])
@pytest.mark.parametrize(
    "new_names",
    [
        ["dog"],
        ["bird", "cat"],
        ["eel", "fox"],
        ["cow", "cat", "dog", "bird", "ant"],
        ["ant", "cow", "gnu", "cat"],
    ],
)
def test_rows_are_moved_as_numpy_moves_them_one_by_one(new_names, tail):
    old_names, boxes, rng = ["bird", "cat", "cow", "dog"], 6, np.random.default_rng(0)
    old = rng.normal(size=(boxes * 5, *tail)).astype(np.float32)
    new = rng.normal(size=(boxes * (len(new_names) + 1), *tail)).astype(np.float32)
    before = new.copy()
    moved = move_rows(old, new, match_classes(old_names, new_names))
    assert moved.tobytes() == rows_in_numpy(old, new, old_names, new_names).tobytes()
    assert new.tobytes() == before.tobytes()


def test_head_of_another_number_of_boxes_has_no_rows_to_give_even_where_the_lengths_agree():
    """24 rows are six boxes of four classes, or four of six."""
    match = match_classes(["a", "b", "c"], ["a", "b", "c", "d", "e"])
    assert move_rows(np.ones((24, 2)), np.zeros((24, 2)), match) is None
    assert move_rows(np.ones((16, 3)), np.zeros((24, 2)), match) is None
    assert move_rows(np.ones((23, 2)), np.zeros((36, 2)), match) is None


# ---- parts


@pytest.mark.parametrize("network", ["vgg16_reduced", "resnet50", "mobilenet"])
@pytest.mark.parametrize("named", [True, False])
def test_parts_of_mxnet_ssds_networks_with_and_without_the_preset(network, named):
    config = network_config(network, (300, 300), 3)
    layers = [f.layer for f in config.features if f.extra is not None] if named else None
    symbol = trained(heads(config), 3)
    parts = parts_of(symbol, layers)
    states = symbol.list_auxiliary_states()
    assert set(parts) == (set(symbol.list_arguments()) | set(states)) - {"data", "label"}
    for name, part in parts.items():
        head, scale = "_pred_conv_" in name, name == "relu4_3_scale"
        expected = "head" if head else "extra" if scale or name.startswith("multi_feat_") else "base"
        assert part == expected, name


def foreign(depthwise=False):
    """A detector under names that nobody knows: a deep backbone with two maps, two short blocks on top of it."""
    sym, layers = mx.sym, []

    def conv(data, name, stride=1, group=1):
        kernel = {"kernel": (3, 3), "pad": (1, 1), "stride": (stride, stride)}
        body = sym.Convolution(data, num_filter=8, num_group=group, name=name, **kernel)
        return sym.Activation(body, act_type="relu", name=f"{name}_act")

    body = sym.Variable("data")
    for number in range(4):
        body = conv(body, f"a{number}", 2 if number < 2 else 1)
    layers.append(sym.BatchNorm(body, fix_gamma=False, name="before"))
    for number in range(3):
        body = conv(body, f"b{number}", 2 if number == 0 else 1)
    layers.append(body)
    for block in ("c", "d"):
        body = conv(conv(body, f"{block}0"), f"{block}1", 2)
        if depthwise:
            body = conv(body, f"{block}2", 1, 8)
        layers.append(body)
    boxes, classes, anchors = [], [], []
    for number, layer in enumerate(layers):
        for kind, filters, into in (("x", 8, boxes), ("y", 2 * 4, classes)):
            out = sym.Convolution(layer, num_filter=filters, kernel=(1, 1), name=f"{kind}{number}")
            into.append(sym.Flatten(sym.transpose(out, axes=(0, 2, 3, 1))))
        anchors.append(sym.Flatten(sym.contrib.MultiBoxPrior(layer, sizes=(0.2, 0.4), ratios=(1,))))
    scores = sym.Reshape(sym.concat(*classes, dim=1), shape=(0, -1, 4))
    return sym.Group(
        [
            sym.concat(*boxes, dim=1, name="multibox_loc_pred"),
            sym.transpose(scores, axes=(0, 2, 1), name="multibox_cls_pred"),
            sym.Reshape(sym.concat(*anchors, dim=1), shape=(0, -1, 4), name="multibox_anchors"),
        ]
    )


@pytest.mark.parametrize("depthwise", [False, True])
def test_parts_of_a_foreign_graph_are_known_by_its_shape(depthwise):
    expected = {"a": "base", "b": "base", "c": "extra", "d": "extra", "x": "head", "y": "head"}
    parts = parts_of(foreign(depthwise))
    assert {name: part for name, part in parts.items() if name[:6] != "before"} == {
        name: expected[name[0]] for name in parts if name[:6] != "before"
    }
    assert {parts[name] for name in parts if name[:6] == "before"} == {"extra"}


def test_class_heads_are_the_convolutions_whose_filters_are_classes():
    assert class_heads_of(foreign()) == {
        f"y{number}_{kind}" for number in range(4) for kind in ("weight", "bias")
    }
    layers = [f"relu{number}" for number in (4, 5, 6, 7)]
    expected = {f"{layer}_cls_pred_conv_{kind}" for layer in layers for kind in ("weight", "bias")}
    assert class_heads_of(trained(ssd())) == expected


# ---- carrying over


def arrays_of(symbol, seed):
    arguments, _, states = symbol.infer_shape(data=(1, 3, *SHAPE))
    rng = np.random.default_rng(seed)
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    pairs = zip(names, [*arguments, *states])
    return {name: mx.nd.array(rng.normal(size=shape)) for name, shape in pairs if name != "data"}


def carried(new, old, new_arrays, old_arrays, classes, reset=False):
    return carry_over(
        new_arrays,
        old_arrays,
        parts=parts_of(new, ()),
        class_heads=class_heads_of(new),
        match=match_classes(*classes),
        reset_heads=reset,
    )


TWENTY = [f"class{number}" for number in range(20)]
THREE = ["class17", "cup", "class4"]


def test_detector_of_twenty_classes_becomes_one_of_three():
    old, new = ssd(num_classes=20), ssd(num_classes=3)
    theirs, mine = arrays_of(old, 1), arrays_of(new, 2)
    result, report = carried(new, old, mine, theirs, (TWENTY, THREE))
    assert sorted(report.by_rows) == sorted(class_heads_of(new))
    assert not (report.anew)
    assert not (report.misshapen)
    assert not (report.unused)
    for name, array in result.items():
        expected = theirs[name].asnumpy()
        if name in report.by_rows:
            expected = rows_in_numpy(expected, mine[name].asnumpy(), TWENTY, THREE)
        assert array.asnumpy().tobytes() == expected.tobytes(), name


def outputs_of(symbol, arrays, picture):
    """Every layer's output that a head takes, and the heads' own: name -> numpy."""
    internals = symbol.get_internals()
    convolutions = [name for name in internals.list_outputs() if name.endswith("_cls_pred_conv_output")]
    maps = [name.replace("_cls_pred_conv", "") for name in convolutions]
    found = {}
    # One by one: a graph in which a convolution and the activation behind it are both outputs gives wrong values.
    for name in (*convolutions, *maps, "multibox_loc_pred_output", "multibox_cls_pred_output"):
        executor = internals[name].simple_bind(mx.cpu(), grad_req="null", data=picture.shape)
        executor.copy_params_from(
            {n: a for n, a in arrays.items() if n in executor.arg_dict},
            {n: a for n, a in arrays.items() if n in executor.aux_dict},
        )
        found[name] = executor.forward(is_train=False, data=picture)[0].asnumpy()
    return found


def logit(feature, weight, bias, row, column):
    """One filter's score at one cell, in numpy: the products in one order, whatever other filters there are."""
    side = weight.shape[-1] // 2
    padded = np.pad(feature[0], ((0, 0), (side, side), (side, side)))
    patch = padded[:, row : row + 2 * side + 1, column : column + 2 * side + 1]
    return np.float32((patch * weight).sum(dtype=np.float32) + bias)


@pytest.mark.parametrize("network", ["ssd7", "mobilenet"])
def test_logits_of_shared_classes_stay_as_they_were_for_the_pixels_of_an_image(network):
    """In numpy to the bit; oneDNN sums in another order where a convolution has another number of filters."""
    shape = (128, 160)
    old, new = ssd(network, 20, shape), ssd(network, 3, shape)
    theirs, mine = arrays_of(old, 1), arrays_of(new, 2)
    theirs = {n: array * (0.05 if n.endswith("_weight") else 0.1) for n, array in theirs.items()}
    theirs.update({n: array.abs() + 1 for n, array in theirs.items() if n.endswith("_var")})
    result, _ = carried(new, old, mine, theirs, (TWENTY, THREE))
    picture = mx.nd.array(np.random.default_rng(3).uniform(-100, 150, (1, 3, *shape)))
    before, after = outputs_of(old, theirs, picture), outputs_of(new, result, picture)
    assert after["multibox_loc_pred_output"].tobytes() == before["multibox_loc_pred_output"].tobytes()
    shared = ((0, 0), (1, 18), (3, 5))  # row of the new head within a box, of the old one
    for name in (name for name in before if name.endswith("_cls_pred_conv_output")):
        layer = name[: -len("_cls_pred_conv_output")]
        feature = before[f"{layer}_output"]
        assert after[f"{layer}_output"].tobytes() == feature.tobytes()
        heads_of = [
            [a[f"{layer}_cls_pred_conv_{k}"].asnumpy() for k in ("weight", "bias")] for a in (theirs, result)
        ]
        for box in range(before[name].shape[1] // 21):
            for row, there in shared:
                row, there = box * 4 + row, box * 21 + there
                cells = [(0, 0), (feature.shape[2] - 1, feature.shape[3] // 2)]
                for cell in cells:
                    was, now = (
                        logit(feature, weight[place], bias[place], *cell)
                        for (weight, bias), place in zip(heads_of, (there, row))
                    )
                    assert was.tobytes() == now.tobytes()
                    assert now == pytest.approx(after[name][0, row][cell], rel=1e-3, abs=1e-3)
    was, now = before["multibox_cls_pred_output"], after["multibox_cls_pred_output"]
    assert np.isfinite(was).all()
    assert was.std() > 0
    for row, there in shared:
        np.testing.assert_allclose(now[:, row], was[:, there], rtol=1e-4, atol=1e-5 * np.abs(was).max())
    assert np.abs(now[:, 2] - was[:, 2]).max() > 0.01


def test_heads_that_are_reset_start_anew_and_the_rest_is_kept():
    old = ssd()
    theirs, mine = arrays_of(old, 1), arrays_of(old, 2)
    result, report = carried(old, old, mine, theirs, (["a", "b", "c", "d", "e"],) * 2, reset=True)
    assert sorted(report.anew) == sorted(name for name in mine if "_pred_" in name)
    for name, array in result.items():
        expected = mine if "_pred_" in name else theirs
        assert array.asnumpy().tobytes() == expected[name].asnumpy().tobytes(), name


def test_head_of_a_map_whose_boxes_changed_starts_anew_and_the_others_do_not():
    config = network_config("ssd7", SHAPE, 3)
    sizes = (config.anchors.sizes[0], (0.2, 0.3, 0.4), *config.anchors.sizes[2:])
    other = type(config.anchors)(**{**config.anchors.__dict__, "sizes": sizes})
    new, old = heads(network_config("ssd7", SHAPE, 3, other)), ssd(num_classes=3)
    names = (["a", "b", "c"],) * 2
    _, report = carried(new, old, arrays_of(new, 1), arrays_of(old, 2), names)
    kinds = [f"relu5_{head}_pred_conv_{kind}" for head in ("loc", "cls") for kind in ("weight", "bias")]
    assert sorted(report.anew) == sorted(kinds)
    assert not report.misshapen


def test_half_precision_is_taken_as_float32():
    symbol = ssd()
    theirs = {name: array.astype("float16") for name, array in arrays_of(symbol, 1).items()}
    result, _ = carried(symbol, symbol, arrays_of(symbol, 2), theirs, (["a", "b", "c", "d", "e"],) * 2)
    assert {array.dtype for array in result.values()} == {np.float32}


def test_misshapen_backbone_is_told_with_both_shapes():
    symbol = ssd()
    theirs = {**arrays_of(symbol, 1), "conv1_weight": mx.nd.zeros((16, 3, 5, 5))}
    _, report = carried(symbol, symbol, arrays_of(symbol, 2), theirs, (["a", "b", "c", "d", "e"],) * 2)
    assert report.misshapen == {"conv1_weight": ((16, 3, 5, 5), (32, 3, 5, 5))}
    assert report.anew == ["conv1_weight"]


# ---- other classes for a graph that nobody can build


@pytest.mark.parametrize("make", [ssd, foreign, lambda: trained(ssd())])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_graph_is_given_another_number_of_classes_by_itself(make, count):
    changed = with_classes(make(), count, SHAPE, "x-symbol.json")
    assert num_classes_of(changed, SHAPE, "x") == count
    assert changed.list_outputs() == [
        "multibox_loc_pred_output",
        "multibox_cls_pred_output",
        "multibox_anchors_output",
    ]


def test_graph_changed_by_itself_is_the_one_built_for_those_classes():
    changed, built = with_classes(trained(ssd()), 2, SHAPE, "x"), ssd(num_classes=2)
    assert changed.tojson() == mx.sym.Group(list(built)).tojson()


def test_graph_whose_scores_are_cut_otherwise_is_refused():
    symbol = foreign()
    internals = symbol.get_internals()
    loc, anchors = internals["multibox_loc_pred_output"], internals["multibox_anchors_output"]
    classes = mx.sym.SliceChannel(mx.sym.FullyConnected(loc, num_hidden=16), num_outputs=4)
    stacked = mx.sym.stack(*[classes[i] for i in range(4)], axis=1, name="multibox_cls_pred")
    with pytest.raises(CheckpointError, match="x: its class heads cannot be given 2 classes"):
        with_classes(mx.sym.Group([loc, stacked, anchors]), 2, SHAPE, "x")
