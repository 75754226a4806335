"""Thresholds by class: what is written is read, and a wrong file is told."""

import json

import pytest

from common.errors import ConfigError
from detect.thresholds import read_thresholds, write_thresholds

NAMES = ("cat", "dog")


def test_thresholds_come_back_in_the_order_of_the_classes(tmp_path):
    write_thresholds(tmp_path / "t.json", {"dog": 0.25, "cat": 0.75}, chosen_by="F1")
    assert read_thresholds(tmp_path / "t.json", NAMES).tolist() == [0.75, 0.25]
    assert json.loads((tmp_path / "t.json").read_text())["chosen_by"] == "F1"


def test_a_class_that_is_not_named_takes_the_default(tmp_path):
    write_thresholds(tmp_path / "t.json", {"dog": 0.25})
    assert read_thresholds(tmp_path / "t.json", NAMES, 0.4).tolist() == [0.4, 0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a file of score thresholds"),
        ("no json", "not a file of score thresholds"),
        ('{"thresholds": {"dogs": 0.5}}', "did you mean dog"),
        ('{"thresholds": {"dog": 1.5}}', "from 0 to below 1"),
        ('{"thresholds": {"dog": NaN}}', "from 0 to below 1"),
        ('{"thresholds": {"dog": true}}', "from 0 to below 1"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_thresholds(tmp_path / "t.json", NAMES)
