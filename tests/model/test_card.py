"""The card: what it says comes back, and what it cannot say is refused by name."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import CheckpointError, SSDError
from model.card import DEPLOYED, FORMAT_VERSION, Card, card_path, read_card, write_card
from symbol.anchors import AnchorConfig
from symbol.detection import DetectionConfig

SHA = "0" * 64


def full_card() -> Card:
    return Card(
        network="vgg16_reduced",
        data_shape=(300, 400),
        class_names=("Zug", "Äpfel", "a,b", "日本"),
        mean=(123.68, 116.779, 103.939),
        std=(58.0, 0.017, 1.0),
        anchors=AnchorConfig(sizes=((0.1, 0.14), (0.3,)), ratios=((1.0,), (1.0, 2.0)), clip=True),
        detection=DetectionConfig(0.02, 0.5, -1, 100, "multibox", True),
        graph=DEPLOYED,
        training={"settings": {"lr": 0.1, "steps": [80, 160]}, "data_sha256": SHA},
        epochs={2: {"sha256": SHA, "mAP": 0.5}, 10: {"sha256": SHA, "states_sha256": SHA}},
        best=2,
        last=10,
        interrupted={"epoch": 10, "batch": 4, "sha256": SHA, "states_sha256": SHA},
        source={"prefix": "ssd", "epoch": 2},
        network_options={"heads": "separable", "extra_layers": 3},
        quantization={"dtype": "int8", "calib_mode": "naive", "left_in_float": ["conv1"], "mAP_after": 0.5},
    )


def test_card_comes_back_from_disk_as_it_was(tmp_path):
    for number, card in enumerate(
        (full_card(), dataclasses.replace(full_card(), best=None, interrupted=None))
    ):
        prefix = tmp_path / "new folder" / f"ssd{number}"
        write_card(prefix, card)
        assert read_card(prefix) == card
        assert Card.from_dict(card.to_dict(), "x") == card


def test_files_of_one_card_are_equal(tmp_path):
    write_card(tmp_path / "a", full_card())
    write_card(tmp_path / "b", read_card(tmp_path / "a"))
    assert card_path(tmp_path / "a").read_bytes() == card_path(tmp_path / "b").read_bytes()


def test_prefix_without_card_has_none(tmp_path):
    assert read_card(tmp_path / "ssd") is None


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None, [1], 1.5])
def test_unknown_format_version_is_named(version):
    values = {**full_card().to_dict(), "format_version": version}
    with pytest.raises(CheckpointError, match=r"x\.json: card of format .*expected 1"):
        Card.from_dict(values, "x.json")


@pytest.mark.parametrize("values", [{}, [], 3, None, "format_version", {"network": "resnet50"}])
def test_other_json_is_no_card(values):
    with pytest.raises(CheckpointError, match=r"x\.json: not the card of a detector"):
        Card.from_dict(values, "x.json")


@pytest.mark.parametrize(
    "name", ["network", "data_shape", "class_names", "mean", "std", "anchors", "detection"]
)
def test_missing_field_is_named(name):
    values = full_card().to_dict()
    del values[name]
    with pytest.raises(CheckpointError, match=rf"x\.json: damaged card.*{name}"):
        Card.from_dict(values, "x.json")


@pytest.mark.parametrize(
    "name", ["graph", "training", "epochs", "best", "last", "interrupted", "source", "network_options"]
)
def test_later_fields_have_defaults(name):
    values = {**full_card().to_dict(), "epochs": {"2": {"sha256": SHA, "mAP": 1}}, "best": 2, "last": 2}
    del values[name]
    if name == "epochs":
        values.update(best=None, last=None)
    field = next(f for f in dataclasses.fields(Card) if f.name == name)
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    assert getattr(Card.from_dict(values, "x"), name) == default


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"data_shape": [300]}, "data_shape"),
        ({"data_shape": [300, 0]}, "data_shape"),
        ({"data_shape": [300.5, 300]}, "data_shape"),
        ({"data_shape": [1e400, 300]}, "data_shape"),
        ({"class_names": "abc"}, "class_names"),
        ({"class_names": []}, "class_names"),
        ({"class_names": ["a", ""]}, "class names"),
        ({"class_names": ["a", 3]}, "class_names"),
        ({"mean": [1, 2, float("nan")]}, "finite"),
        ({"mean": [1, 2]}, "mean"),
        ({"mean": [1, 2, 10**400]}, "OverflowError"),
        ({"std": [1, 1, 0]}, "std"),
        ({"std": [1, 1, "1"]}, "std"),
        ({"network": 3}, "network"),
        ({"network_options": ["separable"]}, "network_options"),
        ({"graph": None}, "graph"),
        ({"anchors": {"sizes": [[10**400]]}}, "OverflowError"),
        ({"anchors": {"sizes": [[0.1]], "size": 1}}, "size"),
        ({"detection": {"nms_threshold": 2}}, "nms_threshold"),
        ({"detection": {"nms_treshold": 0.4}}, "nms_threshold"),
        ({"epochs": {"x": {"sha256": SHA}}}, "epoch 'x'"),
        ({"epochs": {"-1": {"sha256": SHA}}}, "epoch '-1'"),
        ({"epochs": {"01": {"sha256": SHA}}}, "epoch '01'"),
        ({"epochs": {"2": {"mAP": 0.5}}}, "epoch 2 has no sha256"),
        ({"epochs": ["2"]}, "epochs is"),
        ({"epochs": {"2": SHA}}, "2 is '0"),
        ({"training": 3}, "training is 3"),
        ({"best": 3}, "best is 3"),
        ({"last": "10"}, "last is 10"),
        ({"last": 10.0}, "last is 10.0"),
        ({"best": 10}, "best epoch 10 has no mAP"),
        ({"interrupted": {"epoch": 1}}, "interrupted lacks batch"),
        ({"interrupted": ["epoch", "batch", "sha256", "states_sha256"]}, "interrupted is"),
    ],
)
def test_impossible_value_is_named(change, word):
    with pytest.raises(CheckpointError, match=rf"x\.json: damaged card.*{word}"):
        Card.from_dict({**full_card().to_dict(), **change}, "x.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(full_card().to_dict()))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, JSON, max_size=4), st.sets(FIELDS, max_size=2))
def test_any_json_gives_a_card_or_a_checkpoint_error(changes, dropped):
    values = {name: value for name, value in full_card().to_dict().items() if name not in dropped}
    try:
        card = Card.from_dict({**values, **changes}, "x")
    except CheckpointError:
        return
    assert Card.from_dict(card.to_dict(), "x") == card
    assert all(type(epoch) is int for epoch in card.epochs)


@settings(max_examples=100, deadline=None)
@given(JSON | st.dictionaries(st.just("format_version"), st.just(1)))
def test_any_other_json_is_a_checkpoint_error(values):
    with pytest.raises(CheckpointError):
        Card.from_dict(values, "x")


def test_card_changed_by_hand_is_refused_until_its_checksum_is_removed(tmp_path):
    write_card(tmp_path / "ssd", full_card())
    path = card_path(tmp_path / "ssd")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("123.68", "123.67"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"ssd\.json: damaged, or changed by hand.*remove its line"):
        read_card(tmp_path / "ssd")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if '"checksum"' not in line), encoding="utf-8")
    assert read_card(tmp_path / "ssd") == dataclasses.replace(full_card(), mean=(123.67, 116.779, 103.939))


def test_card_laid_out_anew_is_the_same(tmp_path):
    write_card(tmp_path / "ssd", full_card())
    path = card_path(tmp_path / "ssd")
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text("\ufeff" + json.dumps(values, sort_keys=True), encoding="utf-8")
    assert read_card(tmp_path / "ssd") == full_card()


def test_card_that_is_no_json_is_an_error_of_ours(tmp_path):
    path = card_path(tmp_path / "ssd")
    for data in (b"", b"\xff\xfe\x00", b"[" * 100000, b"{", b"NaN", b"<html></html>"):
        path.write_bytes(data)
        with pytest.raises(SSDError, match=r"ssd\.json"):
            read_card(tmp_path / "ssd")
