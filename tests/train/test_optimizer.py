"""Nesterov's momentum and adadelta against numpy written out, and their states across a resume."""

import numpy as np
import pytest

from common.mx import mx
from train.optimizer import make_optimizer

STEPS, RATE, MOMENTUM = 5, 0.05, 0.9
ADADELTA = ("--optimizer", "adadelta")
NESTEROV = ("--nesterov", "--momentum", "0.8")


def gradients():
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (STEPS, 3, 4)).astype(np.float32)


def run(name, *, wd=0.0, clip=0.0, scale=1.0):
    """Return the weight after some updates by MXNet, from ones."""
    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc", no_bias=True)
    optimizer = make_optimizer(
        name, symbol, ["fc_weight"], momentum=MOMENTUM, wd=wd, clip=clip, updates_done=0
    )
    updater = mx.optimizer.get_updater(optimizer)
    weight = mx.nd.ones((3, 4))
    for gradient in gradients():
        optimizer.lr, optimizer.rescale_grad = RATE, scale
        held = mx.nd.array(gradient)
        updater([0], [held], [weight])
        np.testing.assert_array_equal(held.asnumpy(), gradient, "the gradient is changed")
    return weight.asnumpy()


def test_nag_looks_ahead_along_its_momentum():
    weight, speed = np.ones((3, 4)), np.zeros((3, 4))
    for gradient in gradients():
        speed = MOMENTUM * speed - RATE * 0.5 * gradient
        weight = weight + MOMENTUM * speed - RATE * 0.5 * gradient
    np.testing.assert_allclose(run("nag", scale=0.5), weight, rtol=1e-5)


@pytest.mark.parametrize(("wd", "clip"), [(0.0, 0.0), (0.01, 0.7)])
def test_adadelta_steps_by_the_ratio_of_its_averages(wd, clip):
    weight = np.ones((3, 4))
    squares, steps = np.zeros((3, 4)), np.zeros((3, 4))
    for gradient in gradients():
        scaled = np.clip(0.5 * gradient, -clip, clip) if clip else 0.5 * gradient
        squares = 0.9 * squares + 0.1 * scaled**2
        step = np.sqrt(steps + 1e-5) / np.sqrt(squares + 1e-5) * scaled
        steps = 0.9 * steps + 0.1 * step**2
        weight = weight - step - wd * weight
    np.testing.assert_allclose(run("adadelta", wd=wd, clip=clip, scale=0.5), weight, rtol=1e-5)


@pytest.mark.parametrize("flags", [NESTEROV, ("--optimizer", "nag"), ADADELTA], ids=str)
def test_two_and_two_epochs_end_like_four(trainer, flags):
    assert trainer.new("halves", "--end-epoch", "2", *flags) == 0
    assert trainer.resume("halves", "--end-epoch", "4") == 0
    assert trainer.bytes("halves") == trainer.unbroken(*flags)


def test_nesterov_is_sgd_by_another_momentum(trainer):
    assert trainer.new("run", "--end-epoch", "1", *NESTEROV) == 0
    assert trainer.card("run").training["settings"]["optimizer"] == "nag"
    assert trainer.bytes("run") != trainer.unbroken("--momentum", "0.8")
    assert trainer.resume("run", "--no-nesterov", "--end-epoch", "2") == 0
    assert "changed on resume: optimizer nag -> sgd" in trainer.log("run")


def test_adadelta_does_without_decay_and_says_what_it_does_not_heed(trainer):
    assert trainer.new("run", "--end-epoch", "1", *ADADELTA, "--lr", "0.004") == 0
    assert trainer.card("run").training["settings"]["wd"] == 0
    assert "--lr has no effect without another --optimizer: adadelta sets its own step" in trainer.log("run")
    assert trainer.new("decayed", "--end-epoch", "1", *ADADELTA, "--wd", "0.001") == 0
    assert trainer.card("decayed").training["settings"]["wd"] == 0.001
    assert "no effect" not in trainer.log("decayed")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--optimizer", "adam", "--nesterov"), "--nesterov: goes with --optimizer sgd, not with adam"),
        (("--nesterov", "--momentum", "0"), "--momentum 0: expected above 0"),
        (("--optimizer", "adadelt"), "did you mean adadelta"),
    ],
)
def test_impossible_optimiser_is_refused(trainer, capsys, flags, message):
    assert trainer.new("run", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("other", ["rmsprop", "adadelta"])
def test_state_of_another_optimiser_is_refused_even_where_its_shapes_fit(trainer, trained, capsys, other):
    """RMSProp would take SGD's momentum for its mean of squares, and a root of it is no number."""
    assert trainer.resume("run", "--end-epoch", "3", "--optimizer", other) == 2
    assert f"--optimizer {other}: the run's state is that of sgd" in capsys.readouterr().err
