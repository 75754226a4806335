"""The card of a saved detector: everything that the symbol and the parameters do not say.

`PREFIX.json` stands beside `PREFIX-symbol.json` and `PREFIX-NNNN.params` and is written last: an epoch that the card
does not name does not exist. Every command takes class names, input size, preprocessing and detection settings from it.
It carries a checksum of itself and the hash of the graph, since one wrong digit in either changes results in silence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import CheckpointError, ConfigError
from common.files import read_json, sha256, write_json
from symbol.anchors import AnchorConfig, FixedAnchors, anchors_from_dict
from symbol.detection import DetectionConfig

FORMAT_VERSION = 1
TRAINING, DEPLOYED = "training", "deployed"
_OF_INTERRUPTED = {"epoch", "batch", "sha256", "states_sha256"}


@dataclass(frozen=True)
class Card:
    """What a saved detector is.

    Attributes:
        network: preset name, "" where unknown (a foreign model).
        data_shape: (height, width) of the input in pixels.
        class_names: foreground classes in the order of their ids.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: of (R, G, B), divides after the subtraction.
        anchors: the default boxes.
        detection: settings of the detection tail.
        graph: "training" (loss layers inside) or "deployed" (image in, detections out).
        training: settings and summary of the run, as JSON values.
        epochs: epoch -> {"sha256", and where they exist "states_sha256", "mAP", ...}.
        best: the epoch with the best validation mAP, None without validation.
        last: the newest whole epoch.
        interrupted: of a run stopped inside an epoch: {"epoch", "batch", "sha256", "states_sha256"}.
        source: what the detector was made from (of a deployed one: {"prefix", "epoch"}).
        symbol_sha256: of the graph's file, "" where nobody knows; `write_card` fills it in.
        network_options: what the network was changed by (symbol/presets/options.py), {} for nothing; the graph has it
            built in, and a new network made after this one needs it.
        quantization: of an int8 detector: {"dtype", "calib_mode", "images", "left_in_float", "mAP_before", "mAP_after",
            "mAP_on"}; {} for a float one.
    """

    network: str
    data_shape: tuple[int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    anchors: AnchorConfig | FixedAnchors
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    graph: str = TRAINING
    training: dict = field(default_factory=dict)
    epochs: dict[int, dict] = field(default_factory=dict)
    best: int | None = None
    last: int | None = None
    interrupted: dict | None = None
    source: dict = field(default_factory=dict)
    symbol_sha256: str = field(default="", compare=False)
    network_options: dict = field(default_factory=dict)
    quantization: dict = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of foreground classes."""
        return len(self.class_names)

    def to_dict(self) -> dict:
        """Return the card as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["anchors"] = self.anchors.to_dict()
        values["detection"] = self.detection.to_dict()
        values["epochs"] = {str(epoch): entry for epoch, entry in sorted(self.epochs.items())}
        return {"format_version": FORMAT_VERSION, **values}

    @classmethod
    def from_dict(cls, values: dict, path: str | os.PathLike) -> Card:
        """Make a card from JSON values.

        Args:
            values: as `to_dict` gives them.
            path: of the card's file, for messages.

        Raises:
            CheckpointError: the version is unknown, or a field is missing or of the wrong kind.
        """
        if not isinstance(values, dict) or "format_version" not in values:
            raise CheckpointError(f"{path}: not the card of a detector: it has no format_version")
        if values["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: card of format {values['format_version']}, expected {FORMAT_VERSION}:"
                " use the version of this project that wrote it"
            )
        try:
            return cls._from_checked(values)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, ConfigError) as error:
            raise CheckpointError(f"{path}: damaged card: {type(error).__name__} {error}") from error

    @classmethod
    def _from_checked(cls, values: dict) -> Card:
        known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
        known["data_shape"] = _entries(values, "data_shape", int, 2)
        known["class_names"] = _entries(values, "class_names", str)
        known["mean"] = tuple(map(float, _entries(values, "mean", (int, float), 3)))
        known["std"] = tuple(map(float, _entries(values, "std", (int, float), 3)))
        if not all(map(math.isfinite, known["mean"] + known["std"])):
            raise ValueError("mean and std must be finite")
        if min(*known["data_shape"], *known["std"]) <= 0 or "" in known["class_names"]:
            raise ValueError("data_shape and std must be above 0, class names must not be empty")
        known["anchors"] = anchors_from_dict(values["anchors"])
        known["detection"] = DetectionConfig.from_dict(values["detection"])
        epochs = _table(values, "epochs")
        known["epochs"] = {_epoch(key): _table(epochs, key) for key in epochs}
        for name in ("training", "source", "network_options", "quantization"):
            known[name] = _table(values, name)
        if values.get("interrupted") is not None:
            known["interrupted"] = _table(values, "interrupted")
        card = cls(**known)
        card._check_names()
        return card

    def _check_names(self) -> None:
        """Check what the card says of its graph and its epochs, so that nobody else has to.

        Raises:
            ValueError: a text is none, or it names an epoch that it does not describe.
        """
        for name in ("network", "graph", "symbol_sha256"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected a text")
        for epoch, entry in self.epochs.items():
            if not isinstance(entry.get("sha256"), str):
                raise ValueError(f"epoch {epoch} has no sha256")
        for name, epoch in (("best", self.best), ("last", self.last)):
            if epoch is not None and (type(epoch) is not int or epoch not in self.epochs):
                raise ValueError(f"{name} is {epoch}, which is none of its epochs")
        if self.best is not None and "mAP" not in self.epochs[self.best]:
            raise ValueError(f"its best epoch {self.best} has no mAP")
        missing = _OF_INTERRUPTED - set(self.interrupted or ())
        if self.interrupted is not None and missing:
            raise ValueError(f"interrupted lacks {', '.join(sorted(missing))}")


def _entries(values: dict, name: str, kind: type | tuple, count: int = 0) -> tuple:
    """Return a list of a card as a tuple.

    Args:
        values: the card's JSON values.
        name: of the field.
        kind: of each entry.
        count: how many there must be; 0 for one or more.

    Raises:
        ValueError: it is no such list.
    """
    found = values[name]
    fits = isinstance(found, (list, tuple)) and len(found) and len(found) == (count or len(found))
    if not fits or not all(isinstance(entry, kind) and not isinstance(entry, bool) for entry in found):
        raise ValueError(f"{name} is {found!r}, expected a list of {count or 'one or more'}")
    return tuple(found)


def _table(values: dict, name: str) -> dict:
    """Return a card's names and values of that name; none where it is missing.

    Raises:
        ValueError: it is something else.
    """
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name} is {found!r}, expected names and values")
    return dict(found)


def _epoch(key: str) -> int:
    """Return an epoch's number, which JSON keeps as text."""
    if not key.isdecimal() or str(int(key)) != key:
        raise ValueError(f"epoch {key!r} is no number")
    return int(key)


def card_path(prefix: str | os.PathLike) -> Path:
    """Return where the card of a prefix lies: `PREFIX.json`."""
    return Path(f"{prefix}.json")


def read_card(prefix: str | os.PathLike) -> Card | None:
    """Read a prefix's card; None where it has none.

    Raises:
        CheckpointError: the file is there and is no card, or was changed since it was written.
    """
    path = card_path(prefix)
    if not path.exists():
        return None
    values = read_json(path, "card of a detector", CheckpointError)
    if isinstance(values, dict) and values.get("checksum") not in (None, _checksum(values)):
        raise CheckpointError(
            f"{path}: damaged, or changed by hand: its checksum is another: copy the file again; to keep a change that"
            " was meant, remove its line with the checksum"
        )
    return Card.from_dict(values, path)


def write_card(prefix: str | os.PathLike, card: Card) -> None:
    """Write a prefix's card, atomically; this is the moment at which what it names begins to exist.

    The graph's file beside it, where there is one, is whole by then: the card notes its hash.
    """
    values, symbol = card.to_dict(), Path(f"{prefix}-symbol.json")
    values["symbol_sha256"] = sha256(symbol) if symbol.is_file() else ""
    write_json(card_path(prefix), {"checksum": _checksum(values), **values})


def _checksum(values: dict) -> str:
    """Return the SHA-256 of a card's JSON values, however they are laid out, without the checksum itself."""
    rest = json.loads(json.dumps({name: value for name, value in values.items() if name != "checksum"}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()
