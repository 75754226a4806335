"""Damaged files: a named error, or the very same result; never another result, never a crash."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from common.errors import CheckpointError, SSDError
from model.card import card_path, read_card
from model.saved import load, params_path, symbol_path

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
WRONG_KINDS = {
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    r"empty \(0 bytes\)": b"",
    r"git lfs pull": LFS,
    "a zip archive": b"PK\x03\x04" + bytes(100),
    "binary data": bytes(range(200)) * 3,
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(100),
}


def files(prefix: str) -> dict[str, Path]:
    return {"params": params_path(prefix, 3), "symbol": symbol_path(prefix), "card": card_path(prefix)}


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def result_or_error(small, prefix: str) -> tuple:
    """Return (detections, None) or (None, the message of an error of ours); any other exception fails the test."""
    try:
        return small.run(prefix), None
    except SSDError as error:
        return None, str(error)


def test_all_of_sixty_flipped_bits_in_the_parameters_are_found(prefix):
    path, rng = params_path(prefix, 3), random.Random(1)
    data = path.read_bytes()
    for _ in range(60):
        path.write_bytes(flipped(data, rng))
        with pytest.raises(CheckpointError, match=r"ssd-0003\.params"):
            load(prefix)
    path.write_bytes(data)
    load(prefix)


@pytest.mark.parametrize("kind", ["params", "symbol", "card"])
def test_flipped_bit_is_an_error_or_changes_nothing(prefix, small, kind):
    path, rng = files(prefix)[kind], random.Random(2)
    data, expected, card = path.read_bytes(), small.run(prefix), read_card(prefix)
    harmless = 0
    for _ in range(250 if kind == "card" else 60):
        path.write_bytes(flipped(data, rng))
        found, message = result_or_error(small, prefix)
        assert message is None or path.name in message
        if message is None:
            harmless += 1
            np.testing.assert_array_equal(found, expected)
            assert read_card(prefix) == card
    assert harmless < 30


@pytest.mark.parametrize("kind", ["params", "symbol", "card"])
@pytest.mark.parametrize("has_card", [True, False])
def test_file_cut_short_at_any_place_is_an_error(prefix, small, kind, has_card):
    path = files(prefix)[kind]
    data = path.read_bytes()
    if not has_card:
        card_path(prefix).unlink()
    for share in (
        *np.linspace(0, 1, 15)[:-1],
        (len(data) - 2) / len(data),
    ):  # the card's last byte is a line feed
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(SSDError, match=path.name):
            small.run(prefix)


@pytest.mark.parametrize("kind", ["params", "symbol", "card"])
@pytest.mark.parametrize("has_card", [True, False])
def test_other_file_in_its_place_is_named_for_what_it_is(prefix, kind, has_card):
    path = files(prefix)[kind]
    if not has_card:
        card_path(prefix).unlink()
    for words, data in WRONG_KINDS.items():
        path.write_bytes(data)
        stale = "its sha256 is not the one in the card" if kind == "symbol" and has_card else words
        with pytest.raises(SSDError, match=rf"{path.name}: .*({words}|{stale})"):
            load(prefix)


@pytest.mark.parametrize("kind", ["params", "symbol", "card"])
def test_folder_in_its_place_is_an_error(prefix, kind):
    path = files(prefix)[kind]
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match=rf"{path.name}: .*cannot be read"):
        load(prefix)


@pytest.mark.parametrize("kind", ["params", "symbol"])
def test_missing_file_is_an_error(prefix, kind):
    path = files(prefix)[kind]
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"{path.name}: .*No such file"):
        load(prefix)


def test_graph_of_another_run_is_refused(prefix, small):
    symbol_path(prefix).write_text(small.training_graph(filters=8).tojson())
    with pytest.raises(CheckpointError, match=r"ssd-symbol\.json: damaged, or of another run"):
        load(prefix)


def test_flipped_bits_without_a_card_end_in_an_error_or_a_result(bare_prefix, small):
    """Nothing tells of changed weights; but lengths, types and names must not crash, hang or surprise."""
    path, rng = params_path(bare_prefix, 3), random.Random(3)
    data = path.read_bytes()
    headers = [at for at in range(len(data)) if at < 120 or at > len(data) - 300]
    for _ in range(100):
        changed = bytearray(data)
        changed[rng.choice(headers)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        _, message = result_or_error(small, bare_prefix)
        assert message is None or "ssd-0003.params" in message or "small: " in message


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        ('"inputs": [[0, 0, 0]', '"inputs": [[0, 7, 0]'),  # MXNet reads beyond its memory
        ('"op": "Convolution"', '"op": "Convulsion"'),
        ('"heads": [[', '"heads": [[9999'),
        ('"heads"', '"tails"'),
        ('"nodes": [', '"nodes": [3, '),
        ('"num_filter": "4"', '"num_filter": "-4"'),
        ('"kernel": "(3, 3)"', '"kernel": "(300, 300)"'),
    ],
)
def test_damaged_graph_without_a_card_is_an_error(bare_prefix, small, capfd, found, changed):
    path = symbol_path(bare_prefix)
    text = path.read_text()
    assert found in text
    path.write_text(text.replace(found, changed))
    with pytest.raises(CheckpointError, match=r"ssd-symbol\.json|small"):
        small.run(bare_prefix)
    assert "Arguments" not in capfd.readouterr().out


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"nodes": 3}', '{"nodes": []}', "[" * 100000, "null"])
def test_other_json_is_no_graph(bare_prefix, text):
    symbol_path(bare_prefix).write_text(text)
    with pytest.raises(CheckpointError, match=r"ssd-symbol\.json"):
        load(bare_prefix)
