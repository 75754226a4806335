"""Where a deployed detector is written: whole or not at all, and never over what is not a deployed detector.

deploy.py and the converters write here. Training writes its checkpoints itself (train/checkpoint.py).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

from common.errors import ConfigError
from model.card import DEPLOYED, Card, card_path, read_card, write_card
from model.saved import epochs_on_disk, params_path, save, symbol_path


def refuse_foreign(out: str, source: str, *, made_from: str, flag: str = "--out") -> None:
    """Refuse to write over the source, or over anything but a detector that was made in the same way.

    Args:
        out: prefix to write.
        source: prefix that is read.
        made_from: what the card's `source` must name: "prefix" for deploy.py, "caffemodel" for the converter.
        flag: that states `out`, for messages.

    Raises:
        ConfigError: it is one of these.
    """
    if out.endswith(("/", os.sep)):
        raise ConfigError(f"{flag} {out}: is a folder: give the beginning of the files' names too")
    if Path(out).resolve() == Path(source).resolve():
        raise ConfigError(f"{flag} {out}: is the source itself, which would be lost: give another prefix")
    card = read_card(out)
    there = [params_path(out, number) for number in epochs_on_disk(out)]
    if card is None:
        foreign = [path for path in (symbol_path(out), *there) if path.exists()]
    elif card.graph != DEPLOYED or made_from not in card.source:
        foreign = [card_path(out)]
    else:
        foreign = [path for path in there if path not in _own_params(out, card)]
    if foreign:
        raise ConfigError(
            f"{foreign[0]}: is there and was not written by this command: give another place by {flag}"
        )


def _own_params(out: str, card: Card) -> list[Path]:
    """Return the parameter files that an earlier command wrote, or was about to write."""
    numbers = {*card.epochs, card.source.get("epoch")}
    return [params_path(out, number) for number in sorted(n for n in numbers if isinstance(n, int))]


def write_detector(out: str, epoch: int, symbol, params: tuple[dict, dict], card: Card) -> None:
    """Write the detector whole beside its place, then let it take the place of an earlier one.

    Raises:
        ConfigError: there is no room, or no right to write; what was there is there still.
    """
    place = Path(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as folder:
            whole = Path(folder) / place.name
            save(whole, epoch, symbol, params, card)
            _claim(out, card)
            os.replace(symbol_path(whole), symbol_path(out))
            os.replace(params_path(whole, epoch), params_path(out, epoch))
            os.replace(card_path(whole), card_path(out))
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be written ({error.strerror or error}): choose another place"
        ) from error


def _claim(out: str, card: Card) -> None:
    """Remove what an earlier command wrote at this prefix, and say in a card without epochs whose it is from now on.

    Killed at any moment, the command finds its own files here when it is run again.
    """
    old = read_card(out)
    for path in _own_params(out, old) if old else ():
        path.unlink(missing_ok=True)
    write_card(out, dataclasses.replace(card, epochs={}, best=None, last=None))
