"""The flags of a Detector: thresholds from a number or a file, soft-NMS."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import pytest

from common.command import CommandParser
from common.errors import ConfigError
from detect.flags import (
    add_detection_flags,
    add_device_flags,
    add_model_flags,
    open_detector,
    parse_threshold,
    thresholds_of,
)
from detect.thresholds import write_thresholds

DETECTOR = SimpleNamespace(class_names=("red", "green", "blue"))


def parsed(*argv: str) -> argparse.Namespace:
    parser = CommandParser(prog="any.py")
    add_model_flags(parser)
    add_detection_flags(parser)
    add_device_flags(parser, batch_size=2)
    return parser.parse_args(argv)


def opened(prefix: str, *argv: str):
    return open_detector(parsed("--prefix", prefix, "--cpu", *argv))


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("0", 0.0), (".25", 0.25), ("1e-3", 0.001)])
def test_a_threshold_is_a_number(text, value):
    assert parse_threshold(text) == value
    assert thresholds_of(parse_threshold(text), DETECTOR) == value
    assert thresholds_of(text, DETECTOR) == value


@pytest.mark.parametrize("text", ["1", "-0.1", "nan", "inf", "1.5", "", " "])
def test_a_number_that_is_no_threshold_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to below 1, or a file"):
        parse_threshold(text)
    with pytest.raises(ConfigError, match="--thresh: expected a number from 0 to below 1"):
        thresholds_of(text, DETECTOR)


def test_a_threshold_is_a_file(tmp_path):
    path = tmp_path / "thresholds.json"
    write_thresholds(path, {"blue": 0.25, "red": 0.75})
    assert thresholds_of(parse_threshold(str(path)), DETECTOR).tolist() == [0.75, 0.5, 0.25]
    assert thresholds_of(path, DETECTOR).dtype == np.float64
    with pytest.raises(ConfigError, match="missing.json: file of score thresholds cannot be read"):
        thresholds_of(str(tmp_path / "missing.json"), DETECTOR)
    with pytest.raises(ConfigError, match="'blue' is not one of the detector's"):
        thresholds_of(str(path), SimpleNamespace(class_names=("red", "green")))


def test_soft_nms_has_the_papers_sigma_unless_told(toy_prefix):
    assert opened(toy_prefix).soft_nms_sigma is None
    assert opened(toy_prefix, "--soft-nms").soft_nms_sigma == 0.5
    assert opened(toy_prefix, "--soft-nms", "0.3").soft_nms_sigma == 0.3
    assert opened(toy_prefix, "--soft-nms", "0").soft_nms_sigma is None


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_sigma_that_cannot_be_names_the_flag(toy_prefix, value):
    with pytest.raises(ConfigError, match=rf"^--soft-nms is {value}.*above 0"):
        opened(toy_prefix, f"--soft-nms={value}")


def test_nms_beside_soft_nms_is_told_to_have_no_part(toy_prefix, caplog):
    opened(toy_prefix, "--soft-nms", "--nms", "0.4")
    assert "--nms 0.4 has no part in --soft-nms" in caplog.text
    caplog.clear()
    opened(toy_prefix, "--nms", "0.4")
    opened(toy_prefix, "--soft-nms")
    assert caplog.text == ""


def test_flags_of_the_tail_reach_the_detector(toy_prefix):
    detector = opened(
        toy_prefix, "--nms", "0.3", "--nms-topk", "50", "--keep-topk", "5", "--force", "--batch-size", "3"
    )
    tail = detector.card.detection
    assert (tail.nms_threshold, tail.nms_topk, tail.keep_topk, tail.force) == (0.3, 50, 5, True)
    assert detector.batch_size == 3
