"""--monitor N --pattern REGEX: what is seen is what is there, and looking changes nothing."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from common.mx import mx
from train.devices import DeviceGroup
from train.monitor import LogSink, Monitor
from train.observers import BatchDone

DATA = np.random.RandomState(0).standard_normal((4, 3, 8, 8)).astype("f")
LINE = re.compile(r"Batch: +(\d+) (\S+) +(\S+)$", re.MULTILINE)


def small_graph():
    """Convolution, BatchNorm and four outputs as a training graph has them."""
    layer = mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3), name="conv1")
    layer = mx.sym.BatchNorm(layer, fix_gamma=False, name="bn1")
    loss = mx.sym.MakeLoss(mx.sym.sum(mx.sym.Activation(layer, act_type="relu", name="relu1")), name="loss1")
    return mx.sym.Group([loss] + [mx.sym.BlockGrad(mx.sym.sum(layer), name=f"out{i}") for i in range(3)])


def make_devices(count: int = 1, frozen=()) -> DeviceGroup:
    random = np.random.RandomState(1)
    shapes = {"conv1_weight": (2, 3, 3, 3), "conv1_bias": (2,), "bn1_gamma": (2,), "bn1_beta": (2,)}
    arguments = {name: mx.nd.array(random.standard_normal(shape)) for name, shape in shapes.items()}
    statistics = {"bn1_moving_mean": mx.nd.zeros((2,)), "bn1_moving_var": mx.nd.ones((2,))}
    contexts = [mx.cpu(i) for i in range(count)]
    devices = DeviceGroup(small_graph(), contexts, {"data": DATA.shape}, arguments, statistics, frozen)
    devices.init_optimizer("sgd", None, momentum=0.9, wd=0.0, clip=0, updates_done=0)
    return devices


class Keep:
    """A sink that keeps everything: step -> tag -> array."""

    def __init__(self):
        self.seen: dict[int, dict] = {}

    def measure(self, array):
        return array.asnumpy()

    def tell(self, tag, measured, step):
        self.seen.setdefault(step, {})[tag] = measured


def train(devices, monitor=None, batches: int = 5) -> None:
    for step in range(batches):
        if monitor:
            monitor.before_batch(step)
        loss = devices.forward_backward({"data": DATA * (step + 1)})
        devices.update(0.01, 8.0)
        if monitor:
            monitor.after_batch(BatchDone(step, 0, None, loss, 8.0, 0.01))


def final(devices) -> dict:
    return {name: array.asnumpy().tobytes() for part in devices.params() for name, array in part.items()}


def test_every_kind_of_tensor_is_seen_at_the_batches_asked_for():
    devices, sink = make_devices(frozen=("conv1_bias",)), Keep()
    train(devices, Monitor(devices, every=2, pattern=".*", sink=sink))
    assert list(sink.seen) == [0, 2, 4]
    tags = set(sink.seen[0])
    assert {f"weight/{n}" for n in ("conv1_weight", "conv1_bias", "bn1_gamma", "bn1_beta")} <= tags
    assert {f"statistic/bn1_moving_{n}" for n in ("mean", "var")} <= tags
    assert {t for t in tags if t.startswith("gradient/")} == {
        f"gradient/{n}" for n in ("conv1_weight", "bn1_gamma", "bn1_beta")
    }
    assert {"activation/conv1_output", "activation/bn1_output", "activation/relu1_output"} <= tags
    assert "weight/data" not in tags


def test_what_is_seen_is_what_mxnet_computes_by_the_way():
    """The oracle: the same layers in imperative style, with the parameters as they were before the batch."""
    devices, sink = make_devices(), Keep()
    params, statistics = devices.params()
    train(devices, Monitor(devices, every=1, pattern="conv1|relu1|bn1_moving", sink=sink), batches=1)
    weight = params["conv1_weight"]
    weight.attach_grad()
    mean, var = (statistics[f"bn1_moving_{name}"] for name in ("mean", "var"))
    with mx.autograd.record():
        conv = mx.nd.Convolution(mx.nd.array(DATA), weight, params["conv1_bias"], num_filter=2, kernel=(3, 3))
        norm = mx.nd.BatchNorm(conv, params["bn1_gamma"], params["bn1_beta"], mean, var, fix_gamma=False)
        relu = mx.nd.relu(norm)
        loss = relu.sum()
    loss.backward()
    mx.nd.waitall()
    seen = {tag: np.asarray(values) for tag, values in sink.seen[0].items()}
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(seen["activation/conv1_output"], conv.asnumpy())
    close(seen["activation/relu1_output"], relu.asnumpy())
    close(seen["gradient/conv1_weight"], weight.grad.asnumpy() / 8.0)
    close(seen["statistic/bn1_moving_mean"], mean.asnumpy())
    close(seen["statistic/bn1_moving_var"], var.asnumpy())
    np.testing.assert_array_equal(seen["weight/conv1_weight"], devices.params()[0]["conv1_weight"].asnumpy())


@pytest.mark.parametrize("count", [1, 2])
def test_looking_changes_nothing(count):
    plain, watched = make_devices(count), make_devices(count)
    train(plain)
    train(watched, Monitor(watched, every=2, pattern=".*", sink=Keep()))
    assert final(watched) == final(plain)


def test_with_several_devices_the_first_ones_part_is_seen():
    devices, sink = make_devices(2), Keep()
    train(devices, Monitor(devices, every=1, pattern="conv1", sink=sink), batches=1)
    assert sink.seen[0]["activation/conv1_output"].shape[0] == 2


def test_other_batches_run_without_the_callback():
    devices, calls = make_devices(), []
    monitor = Monitor(devices, every=4, pattern=".*", sink=Keep())
    original, monitor._see = monitor._see, lambda *args: calls.append(1) or original(*args)
    monitor.before_batch(0)
    devices.forward_backward({"data": DATA})
    assert calls
    calls.clear()
    for step in (1, 2, 3):
        monitor.before_batch(step)
        devices.forward_backward({"data": DATA})
    assert not calls


def test_what_goes_wrong_in_the_callback_is_raised_after_the_batch():
    class Broken(Keep):
        def measure(self, array):
            raise KeyboardInterrupt

    devices = make_devices()
    with pytest.raises(KeyboardInterrupt):
        train(devices, Monitor(devices, every=1, pattern="relu1", sink=Broken()))


def test_arrays_are_freed(monkeypatch):
    """MXNet makes a new handle for each output of each operator; the ones that nobody wants must go, too."""
    made, freed = [], []
    init, delete = mx.nd.NDArray.__init__, mx.nd.NDArray.__del__
    monkeypatch.setattr(
        mx.nd.NDArray, "__init__", lambda self, *a, **k: made.append(1) or init(self, *a, **k)
    )
    monkeypatch.setattr(mx.nd.NDArray, "__del__", lambda self: freed.append(1) or delete(self))
    devices = make_devices()
    monitor = Monitor(devices, every=1, pattern="relu1", sink=Keep())
    monitor.before_batch(0)
    devices.run_once(monitor._twin)
    made.clear(), freed.clear()
    monitor._twin.forward(is_train=True)
    assert len(made) - len(freed) == 0
    assert made


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("conv(", "--pattern conv(: not a regular expression"),
        ("convolution1", "--pattern convolution1: matches no layer of this network"),
        ("weight", "--pattern weight: matches no layer"),  # by the beginning of the name
    ],
)
def test_pattern_that_is_none_stops_before_training(trainer, capsys, pattern, message):
    assert trainer.new("run", "--end-epoch", "1", "--monitor", "1", "--pattern", pattern) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not (trainer.folder / "run" / "ssd.json").exists()


@pytest.mark.parametrize("off", ["0", "-1"])
def test_monitor_that_is_off_asks_nothing_of_the_pattern(trainer, off):
    assert trainer.new("run", "--end-epoch", "1", "--monitor", off, "--pattern", "(") == 0


def test_without_tensorboard_a_line_in_the_log_tells_each_tensor(trainer):
    flags = ("--end-epoch", "2", "--monitor", "4", "--pattern", "conv1|bn1_moving")
    assert trainer.new("run", *flags) == 0
    found = LINE.findall(trainer.log("run"))
    tags = [f"{kind}/conv1_{kind2}" for kind, kind2 in (("weight", "weight"), ("gradient", "weight"))]
    tags += ["statistic/bn1_moving_mean", "statistic/bn1_moving_var", "activation/conv1_output"]
    assert {(int(step), tag) for step, tag, _ in found} >= {(step, tag) for step in (0, 4) for tag in tags}
    assert {int(step) for step, _, _ in found} == {0, 4}
    assert all(float(value) >= 0 for _, _, value in found)
    assert trainer.new("plain", "--end-epoch", "2") == 0
    assert trainer.bytes("run") == trainer.bytes("plain")


def test_number_in_the_log_is_the_root_of_the_mean_square():
    values = np.random.RandomState(3).standard_normal((5, 7)).astype("f")
    assert LogSink().measure(mx.nd.array(values)) == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-5)
