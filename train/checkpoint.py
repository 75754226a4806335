"""A run's checkpoints: parameters, optimiser state and card, so that at every moment the prefix loads and resumes.

Order of writing: symbol, parameters, states, then the card, which is the commit; only then are older files removed.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from common.errors import CheckpointError, ConfigError, TrainingError
from common.files import write_text
from model.card import Card, read_card, write_card
from model.parameters import join_params, load_arrays, save_arrays, split_params
from model.saved import epochs_on_disk, params_path, resolve_epoch, symbol_path


def states_path(prefix: str, epoch: int) -> Path:
    """Return where the optimiser's states of an epoch lie."""
    return Path(f"{prefix}-{epoch:04d}.states")


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: finished epochs.
        batch: trained batches of the epoch after them.
        arg_params: name -> NDArray; None at the start of a run.
        aux_params: name -> NDArray.
        states: optimiser states; None at the start of a run.
        sums: of the unfinished epoch's losses.
    """

    epoch: int = 0
    batch: int = 0
    arg_params: dict | None = None
    aux_params: dict | None = None
    states: dict | None = None
    sums: dict = dataclasses.field(default_factory=dict)


def refuse_existing(prefix: str, *, overwrite: bool) -> None:
    """Refuse to start a run where a detector lies already, unless `overwrite` allows it.

    Raises:
        ConfigError: there are files of that prefix.
    """
    if overwrite:
        return
    card = read_card(prefix)
    # Files that a card does not name are what a killed run left before its first checkpoint was whole.
    there = epochs_on_disk(prefix) if card is None else sorted(card.epochs)
    begun = card is not None and card.interrupted is not None
    if there or begun:
        raise ConfigError(
            f"--prefix {prefix}: a detector lies there ({_count(there)}{', and a part of one' if begun else ''}):"
            " --resume goes on with it, another --prefix keeps it, --overwrite replaces it"
        )


def _count(epochs: list[int]) -> str:
    return f"its last epoch is {max(epochs)}" if epochs else "no whole epoch"


class Checkpoints:
    """Writes and prunes the checkpoints of one prefix.

    Args:
        prefix: path without "-symbol.json".
        card: as it stands; `card` holds the newest.
        keep_period: epochs that are multiples of it stay; 0 keeps last and best alone.
    """

    def __init__(self, prefix: str, card: Card, keep_period: int):
        self.prefix = prefix
        self.card = card
        self._keep_period = keep_period

    def begin(self, symbol) -> None:
        """Write the card as it stands and the training graph, at the beginning of a run, new or resumed.

        The card goes first: from here on the epochs that it does not name are gone, and their files are removed.
        """
        self._commit()
        path, text = symbol_path(self.prefix), symbol.tojson()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def save_epoch(self, epoch: int, params: tuple[dict, dict], states: dict, entry: dict) -> None:
        """Save a finished epoch, make it the last one (and the best one where it is), and prune.

        Args:
            epoch: finished epochs.
            params: (arg_params, aux_params), finite (see `check_finite`).
            states: optimiser states.
            entry: what the card says of it ("mAP", losses).
        """
        hashes = {
            "sha256": save_arrays(params_path(self.prefix, epoch), join_params(*params)),
            "states_sha256": save_arrays(states_path(self.prefix, epoch), states),
        }
        best = epoch if self.is_best(entry) else self.card.best
        epochs = {**self.card.epochs, epoch: {**hashes, **entry}}
        keep = {epoch, best} | {n for n in epochs if self._keep_period and n % self._keep_period == 0}
        kept = {number: values for number, values in epochs.items() if number in keep}
        self._commit(epochs=kept, best=best, last=epoch, interrupted=None)

    def is_best(self, entry: dict) -> bool:
        """Tell whether an epoch, not saved yet, has a better mAP than all before it."""
        best, score = self.card.best, entry.get("mAP")
        return score is not None and (best is None or score > self.card.epochs[best]["mAP"])

    def save_interrupted(self, epoch: int, batch: int, params: tuple, states: dict, sums: dict) -> None:
        """Save a run that stops inside an epoch.

        Args:
            epoch: finished epochs.
            batch: trained batches of the epoch after them.
            params: (arg_params, aux_params).
            states: optimiser states.
            sums: of the epoch's losses so far, as JSON values.
        """
        check_finite(params, f"epoch {epoch + 1} batch {batch}", self.last_good())
        entry = {"epoch": epoch, "batch": batch, "sums": sums}
        paths = _interrupted_paths(self.prefix, entry)
        entry["sha256"] = save_arrays(paths[0], join_params(*params))
        entry["states_sha256"] = save_arrays(paths[1], states)
        self._commit(interrupted=entry)

    def last_good(self) -> str:
        """Return which checkpoint stands, for messages of a run that stops."""
        last = self.card.last
        return f"epoch {last} of {self.prefix} is the last good checkpoint" if last else "nothing was saved"

    def load_position(self, wanted: str | int) -> Position:
        """Load where a run stopped.

        Args:
            wanted: "last" (inside an epoch, where the run was interrupted there), "best" or an epoch.

        Raises:
            CheckpointError: there is nothing to resume, or a file is damaged.
        """
        interrupted = self.card.interrupted
        if str(wanted).lower() == "last" and interrupted:
            paths = _interrupted_paths(self.prefix, interrupted)
            return self._load(paths, interrupted, interrupted["epoch"], interrupted["batch"])
        epoch = resolve_epoch(self.prefix, wanted, self.card, flags=("--prefix", "--resume"))
        entry = self.card.epochs[epoch]
        if "states_sha256" not in entry:
            raise CheckpointError(
                f"{self.prefix}: epoch {epoch} has no optimiser state: it cannot be resumed;"
                " --pretrained starts a new run from its parameters"
            )
        return self._load(_epoch_paths(self.prefix, epoch), entry, epoch, 0)

    def drop_after(self, position: Position, *, overwrite: bool) -> None:
        """Forget what lies after the position that a run goes on from; `begin` writes that down.

        Raises:
            ConfigError: there are later epochs and `overwrite` is off.
        """
        later = [n for n in sorted(self.card.epochs) if n > position.epoch]
        interrupted = self.card.interrupted
        ahead = interrupted and (interrupted["epoch"], interrupted["batch"]) > (
            position.epoch,
            position.batch,
        )
        if (later or ahead) and not overwrite:
            what = (
                f"epochs {', '.join(map(str, later))}"
                if later
                else f"an interrupted epoch {interrupted['epoch'] + 1}"
            )
            raise ConfigError(
                f"{self.prefix}: --resume {position.epoch} would replace {what}:"
                " copy the files to another --prefix first, or give --overwrite"
            )
        kept = {n: e for n, e in self.card.epochs.items() if n not in later}
        best = max((n for n in kept if "mAP" in kept[n]), key=lambda n: (kept[n]["mAP"], -n), default=None)
        self.card = dataclasses.replace(
            self.card,
            epochs=kept,
            best=best,
            last=max(kept, default=None),
            interrupted=None if ahead else interrupted,
        )

    def _load(self, paths: tuple[Path, Path], entry: dict, epoch: int, batch: int) -> Position:
        arg_params, aux_params = split_params(load_arrays(paths[0], entry["sha256"]), paths[0])
        states = load_arrays(paths[1], entry["states_sha256"])
        return Position(epoch, batch, arg_params, aux_params, states, entry.get("sums", {}))

    def _commit(self, **changes) -> None:
        card = dataclasses.replace(self.card, **changes)
        write_card(self.prefix, card)
        self.card = card
        self._remove_strays()

    def _remove_strays(self) -> None:
        """Remove this prefix's files that the card does not name: pruned ones, and what a killed run left."""
        paths = [path for epoch in self.card.epochs for path in _epoch_paths(self.prefix, epoch)]
        if self.card.interrupted:
            paths += _interrupted_paths(self.prefix, self.card.interrupted)
        named = {path.name for path in paths}
        for path in _own_files(self.prefix):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _epoch_paths(prefix: str, epoch: int) -> tuple[Path, Path]:
    return params_path(prefix, epoch), states_path(prefix, epoch)


def _own_files(prefix: str) -> list[Path]:
    """Return what only training writes at a prefix: epochs with states, interrupted runs, half-written files."""
    name = re.escape(Path(prefix).name)
    epoch_states = re.compile(rf"{name}-(\d{{4,}})\.states")
    others = re.compile(
        rf"{name}-interrupted-\d+-\d+\.(params|states)"
        rf"|\.{name}(-\d{{4,}}\.(params|states)|-interrupted-\d+-\d+\.(params|states)|(-symbol)?\.json)\.\w+\.tmp"
    )
    paths = list(Path(prefix).parent.iterdir())
    epochs = [int(found.group(1)) for found in (epoch_states.fullmatch(path.name) for path in paths) if found]
    return [path for path in paths if others.fullmatch(path.name)] + [
        path for epoch in epochs for path in _epoch_paths(prefix, epoch)
    ]


def _interrupted_paths(prefix: str, entry: dict) -> tuple[Path, Path]:
    """Return the files of an interrupted run; each position has its own, so that the card's are never half replaced."""
    stem = f"{prefix}-interrupted-{entry['epoch']:04d}-{entry['batch']:06d}"
    return Path(f"{stem}.params"), Path(f"{stem}.states")


def check_finite(params: tuple[dict, dict], where: str, last_good: str) -> None:
    """Check that every parameter is finite before it is written over a good one.

    Raises:
        TrainingError: names the first parameter that is not.
    """
    for arrays in params:
        for name, array in arrays.items():
            if not np.isfinite(array.asnumpy()).all():
                raise TrainingError(
                    f"{where}: parameter {name} is not finite; {last_good}:"
                    " lower --lr, raise --warmup-epochs or give --clip-gradient"
                )
