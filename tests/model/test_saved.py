"""A saved detector: what is written is loaded, and what is not there is said."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.card import card_path, read_card, write_card
from model.saved import (
    epochs_on_disk,
    load,
    params_path,
    parse_epoch,
    require_card,
    resolve_epoch,
    save,
    symbol_path,
)
from symbol.anchors import AnchorConfig
from symbol.network import heads
from symbol.presets import network_config

SHA = "0" * 64


def test_detector_comes_back_from_disk(prefix, small):
    saved = load(prefix)
    assert (saved.prefix, saved.epoch) == (prefix, 3)
    assert saved.symbol.tojson() == small.training_graph().tojson()
    for found, written in zip((saved.arg_params, saved.aux_params), small.params()):
        assert set(found) == set(written)
        assert all(np.array_equal(found[name].asnumpy(), written[name].asnumpy()) for name in written)
    card = small.card()
    assert dataclasses.replace(saved.card, epochs={}, last=None) == card
    assert saved.card.last == 3


@pytest.mark.parametrize("given", ["ssd", "./ssd", "../here/ssd", "sub/../ssd"])
def test_relative_prefixes_with_and_without_folder_are_one_detector(
    prefix, tmp_path, monkeypatch, given, small
):
    folder = tmp_path / "here"
    shutil.copytree(Path(prefix).parent, folder)
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder)
    assert epochs_on_disk(given) == [3]
    assert load(given, 3).epoch == 3
    save(given + "2", 10000, small.training_graph(), small.params(), small.card())
    assert load(given + "2").epoch == 10000
    assert (folder / "ssd2-10000.params").is_file()


def test_epochs_on_disk_are_those_of_the_prefix_alone(tmp_path):
    for name in (
        "ssd-0002.params", "ssd-0010.params", "ssd-12345.params", "ssd-003.params", "ssd-0001.states",
        "ssd-deploy-0004.params", "ssd-interrupted-0005-000001.params", "ssd2-0006.params", "xssd-0007.params",
        "ssd-0008.params.tmp", ".ssd-0009.params.x.tmp", "ssd--0001.params", "ssd-00a1.params",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert epochs_on_disk(tmp_path / "ssd") == [2, 10, 12345]
    assert epochs_on_disk(tmp_path / "ssd-deploy") == [4]
    assert epochs_on_disk(tmp_path / "nowhere" / "ssd") == []


@pytest.mark.parametrize(
    ("text", "epoch"),
    [(None, None), ("best", "best"), (" LAST ", "last"), ("0012", 12), (0, 0), ("0", 0)],
)
def test_epochs_as_flags_give_them(text, epoch):
    assert parse_epoch(text) == epoch


@pytest.mark.parametrize("text", ["", "-1", "3.0", "two", "²", "1e3", "bset"])
def test_other_epochs_are_refused(text):
    with pytest.raises(CheckpointError, match="--epoch .*expected best, last or a number"):
        parse_epoch(text)


def entry(score=None):
    return {"sha256": SHA, **({} if score is None else {"mAP": score})}


def test_best_is_taken_then_last(small):
    card = small.card(epochs={2: entry(0.5), 4: entry(0.4)}, best=2, last=4)
    assert [resolve_epoch("x", wanted, card) for wanted in (None, "best", "last", 4, "2")] == [2, 2, 4, 4, 2]
    unmeasured = small.card(epochs={2: entry(), 4: entry()}, last=4)
    assert resolve_epoch("x", None, unmeasured) == 4
    with pytest.raises(
        CheckpointError, match=r"x: no best epoch \(it was trained without validation\).*are 2, 4"
    ):
        resolve_epoch("x", "best", unmeasured)


def test_wrong_epoch_lists_those_there_are(prefix, tmp_path):
    with pytest.raises(CheckpointError, match=r"no epoch 7: kept are 3: give one by --epoch"):
        load(prefix, 7)
    shutil.copy(params_path(prefix, 3), params_path(prefix, 12))
    with pytest.raises(CheckpointError, match="no epoch 12: kept are 3"):
        load(prefix, 12)  # the card does not name it: it does not exist
    card_path(prefix).unlink()
    assert load(prefix, 12).epoch == load(prefix).epoch == 12
    with pytest.raises(CheckpointError, match=r"no epoch 7: kept are 3, 12"):
        load(prefix, "7")
    with pytest.raises(CheckpointError, match=r"no best epoch \(it has no card that says which\).*3, 12"):
        load(prefix, "best")


@pytest.mark.parametrize("name", ["none", "nowhere/ssd", "ssd-symbol.json", "ssd-0003.params", ""])
def test_missing_prefix_is_an_error(prefix, name):
    with pytest.raises(CheckpointError, match=r"no such detector: .*check --prefix"):
        load(f"{Path(prefix).parent}/{name}")


def test_run_without_a_finished_epoch_is_an_error(prefix, small):
    write_card(prefix, small.card())
    with pytest.raises(CheckpointError, match="its card names no finished epoch"):
        load(prefix)


def test_epoch_whose_file_is_gone_is_an_error(prefix):
    params_path(prefix, 3).unlink()
    with pytest.raises(CheckpointError, match=r"ssd-0003\.params: parameters cannot be read"):
        load(prefix)


def test_parameters_that_are_not_finite_are_refused_at_load(prefix, small):
    args, states = small.params()
    args["boxes_bias"] = mx.nd.full(12, float("nan"))
    save(prefix, 4, small.training_graph(), (args, states), small.card())
    with pytest.raises(
        CheckpointError, match=r"ssd-0004\.params: parameter boxes_bias holds values that are not"
    ):
        load(prefix)


@pytest.mark.parametrize(
    ("other", "words"),
    [({"num_classes": 5}, r"\(18.*\(12.*number of classes"), ({"filters": 6}, "another network")],
)
def test_parameters_of_another_detector_name_both_shapes(prefix, small, other, words):
    save(prefix, 3, small.training_graph(), small.params(**other), small.card())
    with pytest.raises(CheckpointError, match=words):
        small.run(prefix)


def test_saving_again_replaces_the_epochs_that_the_card_names(prefix, small):
    save(prefix, 5, small.training_graph(), small.params(seed=1), small.card(best=None))
    assert list(read_card(prefix).epochs) == [5]
    assert load(prefix).epoch == 5


def test_what_is_stated_is_put_over_the_card(prefix):
    saved = load(prefix)
    card = require_card(saved, {"mean": (1.0, 2.0, 3.0), "class_names": None, "data_shape": (64, 64)})
    assert (card.mean, card.class_names, card.data_shape) == (
        (1.0, 2.0, 3.0),
        saved.card.class_names,
        (64, 64),
    )


def test_other_input_size_is_refused_where_default_boxes_have_fixed_steps(prefix, small):
    anchors = AnchorConfig(sizes=((0.4, 0.5),), ratios=((1.0, 2.0),), steps=((0.5, 0.5),))
    save(prefix, 3, small.training_graph(), small.params(), small.card(anchors=anchors))
    saved = load(prefix)
    assert require_card(saved, {"data_shape": (32, 32)}) == saved.card
    with pytest.raises(CheckpointError, match=r"ssd, epoch 3: .*32x32, not 64x32: leave --data-shape out"):
        require_card(saved, {"data_shape": (64, 32)})


def test_files_without_card_get_one_from_graph_and_flags(bare_prefix):
    saved = load(bare_prefix)
    assert saved.card is None
    stated = {"data_shape": (32, 32), "class_names": ("a", "b", "c")}
    card = require_card(saved, stated)
    assert (card.network, card.mean, card.std) == ("", (123.0, 117.0, 104.0), (1.0, 1.0, 1.0))
    assert card.anchors.sizes == ((0.4, 0.5),)
    with pytest.raises(CheckpointError, match="default boxes are not those of ssd7 at 32x32"):
        require_card(saved, {**stated, "network": "ssd7"})
    assert require_card(saved, {**stated, "network": "of_long_ago"}).network == "of_long_ago"
    with pytest.raises(
        CheckpointError, match=r"has no card \(ssd\.json\): give --data-shape, --class-names by hand"
    ):
        require_card(saved, {})


def test_network_that_is_named_says_how_its_input_is_made_and_must_be_the_graphs(bare_prefix):
    config = network_config("ssd7", (64, 64), 3)
    saved = dataclasses.replace(load(bare_prefix), symbol=heads(config))
    stated = {"data_shape": (64, 64), "class_names": ("a", "b", "c"), "network": "ssd7"}
    card = require_card(saved, stated)
    assert (card.anchors.sizes, card.std) == (config.anchors.sizes, (58.0, 58.0, 58.0))
    for wrong in ({"network": "mobilenet"}, {"data_shape": (128, 64)}):
        with pytest.raises(CheckpointError, match="default boxes are not those of"):
            require_card(saved, {**stated, **wrong})


def test_default_boxes_of_a_graph_without_any_are_those_of_the_network(bare_prefix):
    saved = dataclasses.replace(load(bare_prefix), symbol=mx.sym.Variable("data"))
    stated = {"data_shape": (300, 300), "class_names": ("a", "b")}
    with pytest.raises(CheckpointError, match="give --network by hand"):
        require_card(saved, stated)
    assert len(require_card(saved, {**stated, "network": "vgg16_reduced"}).anchors.sizes) == 6
    with pytest.raises(ConfigError, match=r"'vgg16_reducd'.*did you mean vgg16_reduced"):
        require_card(saved, {**stated, "network": "vgg16_reducd"})


def test_card_is_written_last(prefix, small, monkeypatch):
    order = []
    monkeypatch.setattr("model.saved.write_text", lambda path, text: order.append(path))
    monkeypatch.setattr("model.saved.save_arrays", lambda path, arrays: order.append(path) or SHA)
    monkeypatch.setattr("model.saved.write_card", lambda path, card: order.append(card_path(path)))
    save(prefix, 1, small.training_graph(), small.params(), small.card())
    assert order == [symbol_path(prefix), params_path(prefix, 1), card_path(prefix)]
