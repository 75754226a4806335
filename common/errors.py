"""The errors that a user can cause, each a line that says what, where and what to do.

Source of the rule: one small tree, so that a command catches `SSDError` and nothing else.
"""

import difflib
from collections.abc import Iterable


class SSDError(Exception):
    """Base of every error that the user can mend; a command prints it as one line and exits with 2."""


class ConfigError(SSDError):
    """A flag, preset or setting that cannot be."""


class AnnotationError(SSDError):
    """A ground-truth file, box or class name that cannot be used."""


class ImageError(SSDError):
    """A picture that cannot be decoded, whole and without guessing."""


class RecordError(SSDError):
    """A packed dataset that cannot be read, or does not fit the model."""


class CheckpointError(SSDError):
    """A saved detector that cannot be loaded, or does not fit what was asked."""


class TrainingError(SSDError):
    """A run that cannot go on: a loss that is not finite."""


class ConversionError(SSDError):
    """A foreign model that cannot be converted."""


class ExportError(SSDError):
    """A detector that cannot be written in another format."""


class DependencyError(SSDError):
    """A library of Python or of the system that is missing, with the command that brings it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" with the closest known names, or the known ones where none is close.

    Args:
        name: what was asked for.
        known: the names there are.
    """
    known = list(known)
    folded = {candidate.lower(): candidate for candidate in known}
    close = [folded[match] for match in difflib.get_close_matches(str(name).lower(), list(folded), n=3)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if not known:
        return ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"; there are: {shown}"
