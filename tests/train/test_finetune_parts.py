"""Frozen parts and rates of parts: what moves, by how much, on one device and on several, before and after a resume."""

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from train.devices import DeviceGroup
from train.parts import (
    described_rates,
    frozen_parameters,
    noted_layers,
    rate_multipliers,
    with_fixed_statistics,
)
from train.settings import TrainSettings
from train.start import initial_params

SHAPES = {"data": (3, 3, 64, 96), "label": (3, 2, 6)}


def graph():
    config = network_config("ssd7", (64, 96), 3)
    return training_symbol(heads(config), 3, config.anchors.variances, LossConfig())


def batch(seed):
    rng = np.random.default_rng(seed)
    label = np.full(SHAPES["label"], -1, np.float32)
    for image in range(3):
        label[image, 0] = (rng.integers(3), 0.1, 0.2, 0.5, 0.7, 0)
    return {"data": mx.nd.array(rng.normal(0, 1, SHAPES["data"])), "label": mx.nd.array(label)}


def devices(symbol, frozen=(), contexts=1):
    params = initial_params(symbol, SHAPES, 5)
    return DeviceGroup(symbol, [mx.cpu(i) for i in range(contexts)], SHAPES, *params, frozen)


def values(group):
    return {name: array.asnumpy() for part in group.params() for name, array in part.items()}


def settings(**changes):
    return TrainSettings("x.rec", **changes)


# ---- which parameters


def test_freeze_base_freezes_all_that_is_no_head():
    frozen = frozen_parameters(graph(), settings(freeze_base=True), [])
    assert frozen == [n for n in graph().list_arguments() if n.startswith(("conv", "bn"))]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"freeze_base": True}, {"base"}),
        ({"freeze_all_but_heads": True}, {"base", "extra"}),
        ({"extra_lr": 0.0}, {"extra"}),
        ({"head_lr": 0.0, "freeze_base": True}, {"base", "head"}),
        ({"freeze": "conv1_|relu4_3_scale"}, set()),
    ],
)
def test_parts_of_vgg16_are_frozen(flags, expected):
    config = network_config("vgg16_reduced", (300, 300), 3)
    symbol = training_symbol(heads(config), 3, (0.1, 0.1, 0.2, 0.2), LossConfig())
    names = [n for n in symbol.list_arguments() if n not in ("data", "label")]
    frozen = frozen_parameters(symbol, settings(**flags), [f"multi_feat_{n}" for n in (2, 3, 4, 5)])

    def part(name):
        if "_pred_conv_" in name:
            return "head"
        return "extra" if name.startswith("multi_feat_") or name == "relu4_3_scale" else "base"

    by_name = (
        {n for n in names if n.startswith("conv1_") or n == "relu4_3_scale"} if "freeze" in flags else set()
    )
    assert set(frozen) == {n for n in names if part(n) in expected} | by_name
    assert frozen == [n for n in names if n in set(frozen)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"base_lr": 0.0, "head_lr": 0.0}, "-lr 0: with it nothing is left to train"),
        ({"freeze_all_but_heads": True, "freeze": ".*_pred_"}, "nothing is left to train"),
        ({"extra_lr": 0.1}, "--extra-lr: the network has no parameters of that part"),
    ],
)
def test_what_cannot_be_frozen_or_paced_is_refused(flags, message):
    with pytest.raises(ConfigError, match=message):
        frozen_parameters(graph(), settings(**flags), [])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"base_lr": -0.1}, "--base-lr -0.1: expected 0 or more"),
        ({"head_lr": float("nan")}, "--head-lr nan: expected 0 or more"),
        ({"base_lr": 0.1, "freeze_base": True}, "--base-lr 0.1: --freeze-base leaves that part as it is"),
        ({"extra_lr": 0.1, "freeze_all_but_heads": True}, "--extra-lr 0.1: --freeze-all-but-heads leaves"),
        ({"head_lr": 0.1, "optimizer": "adadelta"}, "--head-lr 0.1: adadelta sets its own step"),
    ],
)
def test_rates_that_cannot_be_are_refused(flags, message):
    with pytest.raises(ConfigError, match=message):
        settings(**flags)


# ---- what they do


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rates_of_parts_are_those_of_numpys_sgd(optimizer):
    """One step: base and heads at their own rates, the heads' biases at twice theirs, decay on weights and gammas."""
    symbol, wd, lr = graph(), 0.01, 0.02
    paced = settings(lr=lr, base_lr=0.001, head_lr=0.1)
    frozen = frozen_parameters(symbol, settings(freeze="conv[12]_"), [])
    group = devices(symbol, frozen)
    group.init_optimizer(
        optimizer,
        None,
        momentum=0.9,
        wd=wd,
        clip=0.0,
        updates_done=0,
        multipliers=rate_multipliers(symbol, paced, []),
    )
    before = values(group)
    loss = group.forward_backward(batch(0))
    normaliser = loss.normaliser(3.0)
    gradients = {n: a.asnumpy() / normaliser for n, a in group.first.grad_dict.items() if a is not None}
    scheduled = 0.25  # a schedule's share of --lr holds for every part
    group.update(lr * scheduled, normaliser)
    after = values(group)
    for name in group.parameters:
        if name in frozen:
            assert after[name].tobytes() == before[name].tobytes(), name
            continue
        rate = (0.1 if "_pred_" in name else 0.001) * scheduled
        rate *= 2 if name.endswith("_pred_conv_bias") else 1
        decay = wd if name.endswith(("_weight", "_gamma")) else 0
        gradient = gradients[name].astype(np.float64) + decay * before[name]
        if optimizer == "adam":
            # The first step of Adam: both moments' corrections cancel out, but for epsilon.
            corrected = rate * np.sqrt(1 - 0.999) / (1 - 0.9)
            step = corrected * 0.1 * gradient / (np.sqrt(0.001 * gradient**2) + 1e-8)
        else:
            step = rate * gradient
        scale = np.abs(step).max()
        assert scale > 0 or "_pred_" in name, name  # a map may have neither objects nor hard negatives
        assert (
            np.abs(after[name] - (before[name] - step)).max()
            <= 1e-3 * scale + 1e-7 * np.abs(before[name]).max()
        ), name


def test_without_rates_of_parts_the_multipliers_are_the_layers_own():
    assert rate_multipliers(graph(), settings(), []) == {}
    assert described_rates(settings()) == ""
    assert (
        described_rates(settings(lr=0.1, base_lr=0.01, extra_lr=0))
        == "; learning rates: base 0.01, the rest 0.1"
    )


def norms(symbol):
    nodes = json.loads(symbol.tojson())["nodes"]
    return {n["name"]: n["attrs"].get("use_global_stats") for n in nodes if n["op"] == "BatchNorm"}


def test_only_a_norm_whose_parameters_are_all_frozen_has_its_statistics_fixed():
    symbol = graph()
    before = symbol.tojson()
    fixed = norms(
        with_fixed_statistics(symbol, ["bn1_gamma", "bn1_beta", "bn2_gamma", "bn3_beta", "conv4_weight"])
    )
    assert fixed == {**dict.fromkeys(fixed), "bn1": "True"}
    assert symbol.tojson() == before
    assert with_fixed_statistics(symbol, ["conv1_weight"]) is symbol


def test_norm_without_a_learned_gamma_is_frozen_by_its_beta():
    body = mx.sym.BatchNorm(mx.sym.Variable("data"), name="a", fix_gamma=True)
    assert norms(with_fixed_statistics(body, ["a_beta"])) == {"a": "True"}


def trained_statistics(contexts, frozen):
    """Statistics before and after some steps, with something to learn below the frozen norms."""
    symbol = with_fixed_statistics(graph(), frozen)
    group = devices(symbol, frozen, contexts)
    group.init_optimizer("sgd", None, momentum=0.9, wd=0.001, clip=1.0, updates_done=0)
    before = values(group)
    for seed in range(3):
        loss = group.forward_backward(batch(seed))
        group.update(0.01, loss.normaliser(3.0))
    group.average_aux()
    return before, values(group)


@pytest.mark.parametrize("contexts", [1, 3])
def test_statistics_of_a_frozen_norm_stay_to_the_bit_though_layers_below_it_learn(contexts):
    frozen = [f"bn{number}_{kind}" for number in (2, 3, 5) for kind in ("gamma", "beta")]
    before, after = trained_statistics(contexts, frozen)
    for name in (name for name in before if "_moving_" in name):
        stays = name[2] in "235"
        assert (after[name].tobytes() == before[name].tobytes()) == stays, name
    assert not np.array_equal(after["conv1_weight"], before["conv1_weight"])


def test_frozen_norm_computes_with_its_running_statistics():
    """What training sees of a frozen backbone is what inference gives, whatever else is in the batch."""
    frozen = frozen_parameters(graph(), settings(freeze_base=True), [])
    group = devices(with_fixed_statistics(graph(), frozen), frozen)
    data = batch(1)
    group.forward_backward(data)
    body = graph().get_internals()["relu7_output"]
    training = with_fixed_statistics(body, frozen).simple_bind(mx.cpu(), data=SHAPES["data"])
    inference = body.simple_bind(mx.cpu(), grad_req="null", data=SHAPES["data"])
    for executor in (training, inference):
        executor.copy_params_from(*group.params(), allow_extra_params=True)
    seen, given = (
        executor.forward(is_train=executor is training, data=data["data"])[0].asnumpy()
        for executor in (training, inference)
    )
    np.testing.assert_allclose(seen, given, rtol=1e-4, atol=1e-5)
    plain = body.simple_bind(mx.cpu(), data=SHAPES["data"])
    plain.copy_params_from(*group.params(), allow_extra_params=True)
    assert not np.allclose(plain.forward(is_train=True, data=data["data"])[0].asnumpy(), given, atol=1e-2)


# ---- whole runs


@pytest.mark.parametrize("gpus", ["cpu:1", "cpu:2"])
def test_frozen_backbone_ends_as_it_began_and_the_saved_graph_is_as_ever(trainer, gpus):
    flags = ("--freeze-base", "--end-epoch", "2", "--gpus", gpus, "--lr", "0.001")
    data = [flag for flag in trainer.data() if flag != "--cpu"]
    assert trainer.run(*data, "--prefix", trainer.prefix("run"), *flags) == 0
    assert trainer.new("free", "--end-epoch", "1") == 0
    result, config = trainer.arrays("run"), network_config("ssd7", (64, 96), 5)
    symbol = training_symbol(heads(config), 5, config.anchors.variances, LossConfig())
    shapes = {"data": (4, 3, 64, 96), "label": (4, 6, 6)}
    begin = {n: a.asnumpy() for part in initial_params(symbol, shapes, 0) for n, a in part.items()}
    for name, array in result.items():
        if not name.startswith("state:"):
            stays = "_pred_" not in name
            assert (array.tobytes() == begin[name[4:]].tobytes()) == stays, name
    assert not [name for name in result if name.startswith("state:") and "_pred_" not in name]
    saved = (trainer.folder / "run" / "ssd-symbol.json").read_text(encoding="utf-8")
    assert saved == (trainer.folder / "free" / "ssd-symbol.json").read_text(encoding="utf-8")
    assert "; 21 parameters frozen" in trainer.log("run")


def test_frozen_run_is_the_start_of_one_that_trains_everything(trainer, records):
    assert trainer.new("frozen", "--freeze-all-but-heads", "--end-epoch", "1", "--lr", "0.001") == 0
    given = (
        "--finetune",
        trainer.prefix("frozen"),
        "--train-path",
        str(records.train),
        "--batch-size",
        "4",
        "--cpu",
    )
    flags = ("--workers", "1", "--end-epoch", "1", "--lr", "0.001", "--prefix", trainer.prefix("free"))
    assert trainer.run(*given, *flags) == 0
    before, after = trainer.arrays("frozen"), trainer.arrays("free")
    still = [
        n for n in before if n in after and not n.startswith("state:") and np.array_equal(before[n], after[n])
    ]
    assert not still


def test_resume_takes_frozen_parts_and_rates_from_the_card(trainer):
    flags = ("--freeze-base", "--head-lr", "0.0005", "--lr", "0.001", "--lr-schedule", "cosine")
    assert trainer.new("whole", "--end-epoch", "4", *flags) == 0
    assert trainer.new("broken", "--end-epoch", "4", "--checkpoint-period", "1", *flags) == 0
    assert trainer.resume("broken", "--resume", "2", "--overwrite") == 0
    assert trainer.bytes("broken") == trainer.bytes("whole")
    assert (
        trainer.log("broken").count("21 parameters frozen; learning rates: head 0.0005, the rest 0.001") == 2
    )


def test_wrong_extra_layers_in_a_card_are_not_believed():
    """A card that was changed by hand, or comes from elsewhere."""
    for layers in ("relu4", 3, [1], {"a": 1}, [""], None):
        assert noted_layers({"extra_layers": layers}) is None
    assert noted_layers({}) is None
    assert noted_layers({"extra_layers": ["multi_feat_2"]}) == ["multi_feat_2"]
