"""Settings classes between flags and JSON: a message about a setting names the flag that mends it.

A setting is a field of a frozen dataclass that checks itself; it knows nothing of commands, so a command says here
which flag states which setting.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import TypeVar

from common.errors import ConfigError, did_you_mean

T = TypeVar("T")


@contextlib.contextmanager
def naming_flags(flags: dict[str, str]) -> Iterator[None]:
    """Put the flag in place of the setting's name in the messages of ConfigErrors raised inside.

    Args:
        flags: name of the setting -> flag that states it.
    """
    try:
        yield
    except ConfigError as error:
        text = str(error)
        for name, flag in flags.items():
            text = re.sub(rf"^(\w+: )?{name}\b", flag, text)
        raise ConfigError(text) from error


def with_flags(settings: T, args: argparse.Namespace, flags: dict[str, str]) -> T:
    """Return settings with what flags state; a flag that was not given changes nothing.

    Args:
        settings: a dataclass that checks itself.
        args: parsed flags, None where one was not given.
        flags: name of the setting -> flag that states it.

    Raises:
        ConfigError: a value cannot be; the message names the flag.
    """
    given = stated(args, flags)
    with naming_flags(flags):
        return dataclasses.replace(
            settings, **{name: value for name, value in given.items() if value is not None}
        )


def stated(args: argparse.Namespace, flags: dict[str, str]) -> dict[str, object]:
    """Return name of the setting -> what its flag states, None where it was not given.

    Args:
        args: parsed flags.
        flags: name of the setting -> flag that states it.
    """
    return {name: getattr(args, flag.strip("-").replace("-", "_")) for name, flag in flags.items()}


def check_known(cls: type, values: dict, what: str) -> None:
    """Refuse names that are no setting.

    Args:
        cls: the dataclass of the settings.
        values: name of the setting -> value.
        what: the settings' name, for the message.

    Raises:
        ConfigError: names the first that is unknown, and what is close to it.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise ConfigError(f"{what}: unknown setting {name!r}{did_you_mean(name, known)}")


def from_known(cls: type[T], values: dict, what: str) -> T:
    """Make settings from JSON values.

    Args:
        cls: a dataclass that checks itself.
        values: name of the setting -> value.
        what: the settings' name, for the message.

    Raises:
        ConfigError: an unknown or impossible setting.
    """
    check_known(cls, values, what)
    return cls(**values)
