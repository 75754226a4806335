"""Which rows of a class head belong to whom, for detectors of different classes.

A class head's filters go default box by default box, within each the background first and then the classes (index
k * (classes + 1) + class), so the rows of a class that two detectors know can be carried over one by one.

Source: the subsampling of weights in ssd_keras (misc_utils, sample_tensors), by names in place of indices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError


@dataclass(frozen=True)
class ClassMatch:
    """What classes an old and a new detector share, by their exact names.

    Attributes:
        old: class names of the detector that weights come from, in the order of their ids.
        new: class names of the detector to be trained.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The new detector's classes that the old one knows."""
        return tuple(name for name in self.new if name in self.old)

    @property
    def added(self) -> tuple[str, ...]:
        """The new detector's classes that the old one does not know."""
        return tuple(name for name in self.new if name not in self.old)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The old detector's classes that the new one leaves out."""
        return tuple(name for name in self.old if name not in self.new)

    @property
    def nearly(self) -> tuple[tuple[str, str], ...]:
        """Pairs (added, dropped) that upper and lower case, blanks, - and _ alone keep apart."""
        folded = {_fold(name): name for name in reversed(self.dropped)}
        return tuple((name, folded[_fold(name)]) for name in self.added if _fold(name) in folded)

    def rows(self) -> list[int | None]:
        """Return for each row of the new class head within a default box the old one's, None for a class added."""
        places = {name: index for index, name in enumerate(self.old, start=1)}
        return [0, *(places.get(name) for name in self.new)]


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def match_classes(old: Sequence[str], new: Sequence[str]) -> ClassMatch:
    """Match class names, exactly but for blanks around them.

    Raises:
        ConfigError: a name stands twice in a list, so that it could mean either.
    """
    lists = tuple(tuple(name.strip() for name in names) for names in (old, new))
    for names in lists:
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(
                f"classes {', '.join(names)}: {twice[0]!r} stands twice: its rows could be either's"
            )
    return ClassMatch(*lists)


def move_rows(old: np.ndarray, new: np.ndarray, match: ClassMatch) -> np.ndarray | None:
    """Put the rows of shared classes into a new class head's array.

    Args:
        old: (K * (old classes + 1), ...) weight or bias.
        new: (K * (new classes + 1), ...) as initialised; not changed.
        match: the classes.

    Returns:
        The new array with the background's and the shared classes' rows from the old one; None where the two have not
        as many default boxes in a cell, or other filters.
    """
    each_old, each_new = len(match.old) + 1, len(match.new) + 1
    boxes = len(old) // each_old
    fits = len(old) == boxes * each_old and len(new) == boxes * each_new and old.shape[1:] == new.shape[1:]
    if not fits:
        return None
    result = new.copy().reshape(boxes, each_new, *new.shape[1:])
    by_box = old.reshape(boxes, each_old, *old.shape[1:])
    for row, theirs in enumerate(match.rows()):
        if theirs is not None:
            result[:, row] = by_box[:, theirs]
    return result.reshape(new.shape)
