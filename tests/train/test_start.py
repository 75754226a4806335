"""What a run starts from: drawn parameters, pretrained ones as far as they fit, frozen ones; and that seeds decide."""

import subprocess
import sys

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.parameters import save_arrays
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from train.parts import frozen_names
from train.start import initial_params, transfer

SHAPES = {"data": (2, 3, 64, 96), "label": (2, 3, 6)}


def graph(num_classes=5):
    config = network_config("ssd7", (64, 96), num_classes)
    return training_symbol(heads(config), num_classes, config.anchors.variances, LossConfig())


def as_bytes(params):
    return {name: array.asnumpy().tobytes() for part in params for name, array in part.items()}


def test_same_seed_draws_the_same_whatever_was_drawn_before():
    first = initial_params(graph(), SHAPES, 7)
    mx.nd.random.uniform(shape=(100,)).wait_to_read()
    np.random.random(50)
    assert as_bytes(initial_params(graph(), SHAPES, 7)) == as_bytes(first)


def test_another_seed_draws_others():
    first, second = (initial_params(graph(), SHAPES, seed)[0] for seed in (7, 8))
    for name in first:
        assert np.array_equal(first[name].asnumpy(), second[name].asnumpy()) != name.endswith("_weight"), name


def test_inputs_are_no_parameters():
    arguments, states = initial_params(graph(), SHAPES, 7)
    assert not {"data", "label"} & (set(arguments) | set(states))
    assert "bn1_moving_mean" in states


@pytest.fixture
def params():
    """Initial parameters of five classes, as zeros."""
    arguments, states = initial_params(graph(), SHAPES, 1)
    return (
        {name: mx.nd.zeros(array.shape) for name, array in arguments.items()},
        {name: mx.nd.zeros(array.shape) for name, array in states.items()},
    )


def write(prefix, arrays):
    save_arrays(f"{prefix}-0001.params", arrays)
    return str(prefix)


def test_transfer_takes_what_fits_and_reports_the_rest(params, tmp_path):
    arrays = {
        "arg:conv1_weight": mx.nd.ones((32, 3, 5, 5)),
        "aux:bn1_moving_mean": mx.nd.ones((32,)).astype("float16"),
        "arg:relu4_cls_pred_conv_weight": mx.nd.ones((84, 64, 3, 3)),  # of 20 classes
        "arg:fc8_weight": mx.nd.ones((1000, 10)),
    }
    (arguments, states), report = transfer(params, write(tmp_path / "vgg", arrays), None)
    assert sorted(report.matched) == ["bn1_moving_mean", "conv1_weight"]
    assert report.misshapen == ["relu4_cls_pred_conv_weight"]
    assert report.unused == ["fc8_weight"]
    assert "conv2_weight" in report.initialised
    assert arguments["conv1_weight"].asnumpy().all()
    assert states["bn1_moving_mean"].dtype == np.float32
    assert not arguments["conv2_weight"].asnumpy().any()
    assert not params[0]["conv1_weight"].asnumpy().any()  # what was given is not changed
    lines = "\n".join(report.lines("vgg"))
    for text in ("2 parameters taken", "1 of another shape, newly initialised: relu4_cls_pred_conv_weight",
                 "left out: fc8_weight", "not in the file, newly initialised: "):  # fmt: skip
        assert text in lines


@pytest.mark.parametrize(
    "arrays",
    [
        {"arg:fc8_weight": mx.nd.ones((3, 3))},
        {"arg:conv1_weight": mx.nd.ones((8, 3, 5, 5))},
        {"arg:bn1_gamma": mx.nd.ones((32,))},  # no weight: a chance hit of a common name
    ],
)
def test_transfer_of_nothing_is_an_error(params, tmp_path, arrays):
    with pytest.raises(CheckpointError, match="--pretrained .*vgg-0001.params: no weight of it fits"):
        transfer(params, write(tmp_path / "vgg", arrays), None)


def test_transfer_takes_the_epoch_that_is_asked_for(params, tmp_path):
    for epoch in (1, 4):
        arrays = {"arg:conv1_weight": mx.nd.full((32, 3, 5, 5), epoch)}
        save_arrays(tmp_path / f"vgg-{epoch:04d}.params", arrays)
    for wanted, value in ((None, 4), ("1", 1), ("last", 4)):
        (arguments, _), _ = transfer(params, str(tmp_path / "vgg"), wanted)
        assert (arguments["conv1_weight"].asnumpy() == value).all()
    with pytest.raises(CheckpointError, match="no epoch 2: kept are 1, 4: give one by --epoch"):
        transfer(params, str(tmp_path / "vgg"), "2")


def test_frozen_names_are_matched_from_their_beginning():
    assert frozen_names(graph(), "conv[12]_") == ["conv1_weight", "conv2_weight"]
    assert frozen_names(graph(), "") == []
    assert "relu4_loc_pred_conv_weight" not in frozen_names(graph(), "^(conv1_|bn1_).*")


@pytest.mark.parametrize("pattern", ["vgg", ".*", "("])
def test_freezing_nothing_or_everything_is_an_error(pattern):
    with pytest.raises(ConfigError, match="--freeze"):
        frozen_names(graph(), pattern)


def test_run_on_pretrained_weights_starts_there(trainer, trained, capsys):
    flags = ("--pretrained", trained, "--epoch", "2", "--lr", "1e-30", "--wd", "0", "--end-epoch", "1")
    assert trainer.new("tuned", *flags) == 0
    assert "parameters taken" in capsys.readouterr().out
    taken, result = trainer.arrays("run"), trainer.arrays("tuned")
    assert taken["arg:conv3_weight"].tobytes() == result["arg:conv3_weight"].tobytes()
    assert trainer.card("tuned").training["settings"]["pretrained"] == trained


def test_pretrained_of_other_classes_keeps_all_but_the_class_heads(trainer, trained, records, capsys):
    flags = ("--pretrained", trained, "--train-path", str(records.two_classes), "--end-epoch", "1")
    assert trainer.new("tuned", *flags) == 0
    assert "8 of another shape, newly initialised: relu4_cls_pred_conv_weight" in capsys.readouterr().out


def test_vgg16_on_pretrained_weights_freezes_its_first_layers(trainer, tmp_path, records):
    """As mxnet-ssd does by default; --freeze '' trains them."""
    prefix = write(tmp_path / "vgg", {"arg:conv1_1_weight": mx.nd.ones((64, 3, 3, 3))})
    from common.mx import contexts
    from train.flags import build_parser
    from train.from_flags import new_settings
    from train.network_flags import chosen_network

    def freeze(*flags):
        args = build_parser().parse_args(["--train-path", str(records.train), "--pretrained", prefix, *flags])
        return new_settings(args, chosen_network(args, 5), contexts("")).freeze

    assert freeze() == "^(conv1_|conv2_).*"
    assert freeze("--freeze", "") == ""
    assert freeze("--network", "ssd7") == ""


def test_frozen_parameters_stay_and_all_others_move(trainer):
    """The statistics of a BatchNorm with nothing but frozen layers below it stay as well: nothing goes back to it."""
    before = as_bytes(initial_params(graph(), SHAPES, 0))
    assert trainer.new("run", "--end-epoch", "1", "--freeze", "conv[12]_|bn1_") == 0
    after = {name[4:]: array for name, array in trainer.bytes("run").items()}
    frozen = {"conv1_weight", "conv2_weight", "bn1_gamma", "bn1_beta"}
    frozen |= {"bn1_moving_mean", "bn1_moving_var"}
    assert {name for name, array in before.items() if after[name] == array} == frozen
    assert "4 parameters frozen" in trainer.log("run")


def test_same_seed_gives_the_same_bytes_in_another_process(trainer, project_root):
    flags = [*trainer.data(), "--end-epoch", "1", "--optimizer", "adam", "--lr", "0.001"]
    assert trainer.run(*flags, "--prefix", trainer.prefix("here")) == 0
    command = [sys.executable, "train.py", *flags, "--prefix", trainer.prefix("there")]
    subprocess.run(command, cwd=project_root, check=True, capture_output=True)
    assert trainer.bytes("there") == trainer.bytes("here")


@pytest.mark.parametrize("flags", [("--seed", "1"), ("--workers", "2")])
def test_seed_and_workers_are_part_of_the_result(trainer, flags):
    assert trainer.new("run", "--end-epoch", "1") == 0
    assert trainer.new("again", "--end-epoch", "1") == 0
    assert trainer.new("other", "--end-epoch", "1", *flags) == 0
    assert trainer.bytes("again") == trainer.bytes("run")
    assert trainer.bytes("other") != trainer.bytes("run")
