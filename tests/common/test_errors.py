"""One tree of errors, and suggestions for names that are nearly right."""

import inspect

import pytest

from common import errors
from common.errors import did_you_mean


def test_every_error_is_an_ssd_error_with_a_docstring():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
    assert len(classes) >= 9
    for error in classes:
        assert issubclass(error, errors.SSDError)
        assert error.__doc__


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("persn", ["cat", "person"], "; did you mean person?"),
        ("PERSON", ["cat", "Person"], "; did you mean Person?"),
        ("zebra", ["cat", "dog"], "; there are: cat, dog"),
        ("zebra", [], ""),
        (7, ["cat"], "; there are: cat"),
    ],
)
def test_suggestion(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_long_lists_are_cut():
    hint = did_you_mean("zzz", [f"name{i}" for i in range(30)])
    assert hint.endswith("name19, ...")


def test_generator_of_names_is_read_once():
    assert did_you_mean("catt", (name for name in ("cat", "dog"))) == "; did you mean cat?"
