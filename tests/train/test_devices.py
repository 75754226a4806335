"""Several devices do what one does with the whole batch, and the update is what numpy computes."""

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from symbol.loss import LossConfig, training_symbol
from train.devices import BatchLoss, DeviceGroup
from train.start import initial_params

CLASSES, BATCH, SIDE = 3, 4, 32
VARIANCES = (0.1, 0.1, 0.2, 0.2)
LOSS = LossConfig(minimum_negatives=2)
SHAPES = {"data": (BATCH, 3, SIDE, SIDE), "label": (BATCH, 2, 6)}
# Sizes 0.3 and 0.6 and ratio 2: three default boxes in each cell of a map of 8x8 and one of 4x4.
PER_CELL = 3


def toy_heads(normalised=False):
    """A few convolutions with two heads each for boxes and classes; `normalised` puts a BatchNorm into it."""
    body, locations, classes, anchors = mx.sym.Variable("data"), [], [], []
    for number, stride in ((1, 4), (2, 2)):
        body = mx.sym.Convolution(body, num_filter=8, kernel=(3, 3), pad=(1, 1), name=f"conv{number}")
        if normalised:
            body = mx.sym.BatchNorm(body, fix_gamma=False, name=f"bn{number}")
        body = mx.sym.Activation(body, act_type="relu", name=f"relu{number}")
        body = mx.sym.Pooling(body, kernel=(stride,) * 2, stride=(stride,) * 2, pool_type="avg")
        for name, each, into in (("loc", 4, locations), ("cls", CLASSES + 1, classes)):
            head = mx.sym.Convolution(
                body, num_filter=each * PER_CELL, kernel=(1, 1), name=f"relu{number}_{name}_pred_conv"
            )
            into.append(mx.sym.Flatten(mx.sym.transpose(head, axes=(0, 2, 3, 1))))
        prior = mx.sym.contrib.MultiBoxPrior(body, sizes=(0.3, 0.6), ratios=(1, 2))
        anchors.append(mx.sym.Flatten(prior))
    rows = mx.sym.reshape(mx.sym.concat(*classes, dim=1), shape=(0, -1, CLASSES + 1))
    return mx.sym.Group(
        [
            mx.sym.concat(*locations, dim=1, name="multibox_loc_pred"),
            mx.sym.transpose(rows, axes=(0, 2, 1), name="multibox_cls_pred"),
            mx.sym.reshape(mx.sym.concat(*anchors, dim=1), shape=(0, -1, 4), name="multibox_anchors"),
        ]
    )


def toy(contexts, normalised=False, seed=3, frozen=()):
    symbol = training_symbol(toy_heads(normalised), CLASSES, VARIANCES, LOSS)
    params = initial_params(symbol, SHAPES, seed)
    return DeviceGroup(symbol, [mx.cpu(i) for i in range(contexts)], SHAPES, *params, frozen)


def batch(seed, empty=()):
    """A batch of noise with up to two objects an image; those in `empty` have none."""
    rng = np.random.default_rng(seed)
    label = np.full(SHAPES["label"], -1, np.float32)
    for image in set(range(BATCH)) - set(empty):
        for row in range(1 + image % 2):
            corner = rng.uniform(0, 0.5, 2)
            label[image, row] = (rng.integers(CLASSES), *corner, *(corner + rng.uniform(0.2, 0.5, 2)), 0)
    return {"data": mx.nd.array(rng.normal(0, 1, SHAPES["data"])), "label": mx.nd.array(label)}


# The empty images make up the first half, the second, a quarter; then the whole batch.
BATCHES = [batch(0), batch(1, (0, 1)), batch(2, (2, 3)), batch(3, (1,)), batch(4, range(BATCH)), batch(5)]


def train(group, optimizer="sgd", batches=BATCHES, rate=0.02, clip=1.0, momentum=0.9):
    group.init_optimizer(optimizer, None, momentum=momentum, wd=0.01, clip=clip, updates_done=0)
    losses = []
    for inputs in batches:
        loss = group.forward_backward(inputs)
        group.update(rate, loss.normaliser(LOSS.negative_ratio))
        losses.append(loss)
    return losses


def values(group):
    return {name: array.asnumpy() for part in group.params() for name, array in part.items()}


@pytest.mark.parametrize("contexts", [2, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_several_devices_train_like_one(contexts, optimizer):
    one, several = toy(1), toy(contexts)
    rate = 0.02 if optimizer == "sgd" else 0.002
    alone, together = train(one, optimizer, rate=rate), train(several, optimizer, rate=rate)
    for first, second in zip(alone, together):
        assert (first.positives, first.negatives) == (second.positives, second.negatives)
        assert (first.cls, first.loc) == pytest.approx((second.cls, second.loc), rel=1e-4)
    begin, end = values(toy(1)), values(several)
    for name, expected in values(one).items():
        moved = np.abs(expected - begin[name]).max()
        assert np.abs(end[name] - expected).max() < 1e-3 * moved, name


def test_copies_on_all_devices_stay_equal_to_the_bit():
    group = toy(4)
    train(group, "adam", rate=0.01)
    mx.nd.waitall()
    first, *others = [
        {name: array.asnumpy() for name, array in executor.arg_dict.items() if name not in SHAPES}
        for executor in group._executors
    ]
    for other in others:
        for name, array in first.items():
            assert array.tobytes() == other[name].tobytes(), name


def test_same_batches_give_the_same_bytes_on_two_devices():
    groups = [toy(2), toy(2)]
    for group in groups:
        train(group)
    first, second = (values(group) for group in groups)
    assert {n: a.tobytes() for n, a in first.items()} == {n: a.tobytes() for n, a in second.items()}


def mined(loss, positive):
    """The background boxes with the largest loss: three for each positive of an image, at least two."""
    negative = np.zeros_like(positive)
    for row, here in enumerate(positive):
        wanted = min(max(3 * here.sum(), LOSS.minimum_negatives), (~here).sum())
        order = np.argsort(-np.where(here, -1, loss[row]), kind="stable")
        negative[row, order[: int(wanted)]] = True
    return negative


def numpy_bias_gradients(group, inputs):
    """The gradients of the heads' biases, and the number of positives, from the heads' outputs."""
    heads = toy_heads().simple_bind(mx.cpu(), data=SHAPES["data"])
    heads.copy_params_from(*group.params())
    loc, cls, anchors = heads.forward(is_train=False, data=inputs["data"])
    targets = mx.nd.contrib.MultiBoxTarget(anchors, inputs["label"], cls, variances=VARIANCES)
    loc_target, loc_mask, cls_target = (array.asnumpy().astype(np.float64) for array in targets)
    cls_target = np.maximum(cls_target, 0).astype(int)  # (B, A)
    scores = cls.asnumpy().astype(np.float64)
    prob = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)  # (B, C+1, A)
    positive = cls_target > 0
    kept = positive | mined(-np.log(prob[:, 0]), positive)
    one_hot = (np.arange(CLASSES + 1)[None, :, None] == cls_target[:, None]).astype(float)
    d_cls = (prob - one_hot) * kept[:, None]  # (B, C+1, A)
    d_loc = np.clip((loc.asnumpy() - loc_target) * loc_mask, -1, 1) * loc_mask  # (B, 4A)
    d_cls = d_cls.sum(axis=0).T  # (A, C+1)
    d_loc = d_loc.sum(axis=0).reshape(-1, 4)  # (A, 4)
    gradients, begin = {}, 0
    for number, cells in ((1, 64), (2, 16)):
        end = begin + cells * PER_CELL
        for name, gradient in (("cls", d_cls), ("loc", d_loc)):
            per_box = gradient[begin:end].reshape(cells, -1).sum(axis=0)
            gradients[f"relu{number}_{name}_pred_conv_bias"] = per_box
        begin = end
    return gradients, positive.sum(), kept.sum() - positive.sum()


@pytest.mark.parametrize("contexts", [1, 2])
@pytest.mark.parametrize("empty", [(), (0, 1), range(BATCH)])
def test_update_divides_the_summed_gradients_by_the_batchs_positives_as_numpy_does(contexts, empty):
    group, inputs = toy(contexts), batch(7, empty)
    before = values(group)
    gradients, positives, negatives = numpy_bias_gradients(group, inputs)
    (loss,) = train(group, batches=[inputs], rate=0.1, clip=0, momentum=0)
    assert (loss.positives, loss.negatives) == (positives, negatives)
    divisor = max(1, positives, negatives / 3)
    for name, gradient in gradients.items():
        expected = before[name] - 0.1 * gradient / divisor  # biases have no weight decay
        np.testing.assert_allclose(values(group)[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_clip_bounds_each_element_of_the_divided_gradient():
    group, inputs = toy(1), batch(7)
    before = values(group)
    gradients, positives, _ = numpy_bias_gradients(group, inputs)
    train(group, batches=[inputs], rate=0.1, clip=0.01, momentum=0)
    clipped = 0
    for name, gradient in gradients.items():
        expected = before[name] - 0.1 * np.clip(gradient / positives, -0.01, 0.01)
        np.testing.assert_allclose(values(group)[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
        clipped += (np.abs(gradient / positives) > 0.01).sum()
    assert clipped > 0


@pytest.mark.parametrize(
    ("positives", "negatives", "ratio", "expected"),
    [(8, 24, 3.0, 8), (0, 0, 3.0, 1), (0, 9, 3.0, 3), (2, 30, 3.0, 10), (5, 0, 0.0, 5), (0, 9, 0.0, 1)],
)
def test_normaliser(positives, negatives, ratio, expected):
    assert BatchLoss(1.0, 1.0, positives, negatives).normaliser(ratio) == expected


def test_auxiliary_states_are_averaged_over_the_devices():
    inputs = batch(0)
    parts = []
    for half in (slice(0, 2), slice(2, 4)):
        symbol = training_symbol(toy_heads(normalised=True), CLASSES, VARIANCES, LOSS)
        shapes = {name: (2, *shape[1:]) for name, shape in SHAPES.items()}
        group = DeviceGroup(symbol, [mx.cpu()], shapes, *initial_params(symbol, shapes, 3))
        group.forward_backward({name: array[half] for name, array in inputs.items()})
        parts.append({name: array.asnumpy() for name, array in group.params()[1].items()})
    both = toy(2, normalised=True)
    both.forward_backward(inputs)
    apart = both.aux_by_device()
    both.average_aux()
    averaged = both.params()[1]
    assert set(averaged) == {f"bn{i}_moving_{kind}" for i in (1, 2) for kind in ("mean", "var")}
    for name, array in averaged.items():
        assert apart[f"device1:{name}"].asnumpy().tobytes() == parts[1][name].tobytes()
        assert not np.array_equal(parts[0][name], parts[1][name])
        np.testing.assert_allclose(array.asnumpy(), (parts[0][name] + parts[1][name]) / 2, rtol=1e-6)
        assert both.aux_by_device()[f"device1:{name}"].asnumpy().tobytes() == array.asnumpy().tobytes()


def test_devices_get_their_own_auxiliary_states_back():
    first, second = toy(2, normalised=True), toy(2, normalised=True)
    first.forward_backward(batch(0))
    second.set_params(*first.params())
    second.set_aux_by_device({**first.aux_by_device(), "conv1_weight/0": mx.nd.ones(1)})
    for group in (first, second):
        group.forward_backward(batch(1))
    expected, got = first.aux_by_device(), second.aux_by_device()
    assert {n: a.asnumpy().tobytes() for n, a in got.items()} == {
        n: a.asnumpy().tobytes() for n, a in expected.items()
    }


@pytest.mark.parametrize("contexts", [1, 2])
def test_frozen_parameters_stay_and_have_no_state(contexts):
    frozen = ["conv1_weight", "conv1_bias"]
    group = toy(contexts, frozen=frozen)
    before = values(group)
    train(group)
    for name, array in values(group).items():
        assert (array.tobytes() == before[name].tobytes()) == (name in frozen), name
    assert not [name for name in group.states() if name.split("/")[0] in frozen]


def test_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="--batch-size 4: cannot be split over 3 devices"):
        toy(3)


@pytest.mark.parametrize("arrays", [{}, {"conv1_weight/0": mx.nd.zeros((2, 2))}])
def test_states_of_another_optimiser_are_refused(arrays):
    settings = {"momentum": 0.9, "wd": 0.0, "clip": 0.0, "updates_done": 1}
    with pytest.raises(CheckpointError, match="optimiser state 0 of conv1_weight: found"):
        toy(1).init_optimizer("sgd", arrays, **settings)


def test_unknown_optimiser_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match="--optimizer adem: no such optimiser; did you mean adam"):
        toy(1).init_optimizer("adem", None, momentum=0, wd=0, clip=0, updates_done=0)
