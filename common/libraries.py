"""Libraries that only a part of the project needs: imported where they are used, with the command that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from common.errors import DependencyError


def require(library: str, needing: str, wheels: str = "") -> ModuleType:
    """Import a library that is optional.

    Args:
        library: name of the module.
        needing: what it is for, with its verb: "--serve needs".
        wheels: what pip installs; "" is the library's own name.

    Raises:
        DependencyError: it cannot be imported.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise DependencyError(
            f"{needing} the Python package {library} ({error}): run `pip install {wheels or library}`"
        ) from error
