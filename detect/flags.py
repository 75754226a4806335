"""The flags that every command with a Detector shares, under mxnet-ssd's names, and the Detector they describe."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
from pathlib import Path

import numpy as np

from common.command import add_switch, parse_shape, read_class_names
from common.errors import CheckpointError, ConfigError
from common.mx import contexts
from common.settings import naming_flags, stated
from detect.detector import Detector
from detect.engine import use_synchronous_engine
from detect.load import load_any
from detect.onnx_session import OnnxDetector
from detect.soft_nms import DEFAULT_SIGMA
from detect.thresholds import read_thresholds
from model import MODEL_FOLDER, SHIPPED_MODEL
from model.onnx_file import is_onnx
from model.saved import SavedDetector, epochs_on_disk, symbol_path
from symbol.detection import NMS_MODES

DETECTION_FLAGS = {  # setting -> flag
    "nms_threshold": "--nms",
    "nms_mode": "--nms-mode",
    "nms_topk": "--nms-topk",
    "keep_topk": "--keep-topk",
    "force": "--force",
}
_OTHER_FLAGS = {
    "score_threshold": "--thresh",
    "soft_nms_sigma": "--soft-nms",
    "batch_size": "--batch-size",
    "data_shape": "--data-shape",
}
log = logging.getLogger(__name__)

_FILE_ENDING = re.compile(r"-(symbol\.json|\d{4,}\.params)$")
_OLD_MEAN = (123.0, 117.0, 104.0)  # mxnet-ssd's, for files without a card


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a saved detector and say what its card would, where it has none."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--prefix",
        help="of the saved detector, without -symbol.json; or an ONNX file; one that ends in _ gets NETWORK_SHAPE"
        " appended"
        " (default: the detector that ships with the project; with --network: model/ssd_)",
    )
    group.add_argument("--epoch", help="best, last or a number (default: best, else last)")
    group.add_argument("--network", help="name of the network, for a prefix that ends in _ and for old files")
    group.add_argument("--deploy", action="store_true", help="not needed: a deployed graph is recognised")
    group = parser.add_argument_group("for files without a card, as mxnet-ssd wrote them")
    group.add_argument(
        "--data-shape", type=parse_shape, metavar="H[,W]", help="input height and width in pixels"
    )
    group.add_argument(
        "--class-names", metavar="A,B|FILE", help="comma list, or a text file with a name on each line"
    )
    add_mean_flags(group)


def add_mean_flags(group) -> None:
    """Add `--mean-r`, `--mean-g` and `--mean-b`."""
    for letter, colour, mean in zip("rgb", ("red", "green", "blue"), _OLD_MEAN):
        group.add_argument(
            f"--mean-{letter}",
            type=float,
            metavar="X",
            help=f"mean {colour}, 0 to 255 (default: the card's, or {mean:g})",
        )


def add_detection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the detection tail; what is not given comes from the card."""
    group = parser.add_argument_group("detection settings (default: as the card says)")
    group.add_argument("--nms", type=float, metavar="X", help="IoU above which NMS drops a box, 0 to 1")
    group.add_argument(
        "--nms-mode", choices=NMS_MODES, help="every class at every anchor, or mxnet-ssd's operator"
    )
    group.add_argument(
        "--nms-topk", "--nms_topk", type=int, metavar="N", help="candidates before NMS, -1 for all"
    )
    group.add_argument(
        "--keep-topk", type=int, metavar="N", help="detections of an image at most, -1 for all"
    )
    add_switch(group, "--force", default=None, help="NMS across classes")
    group.add_argument(
        "--soft-nms",
        type=float,
        nargs="?",
        const=DEFAULT_SIGMA,
        metavar="SIGMA",
        help="lower the scores of overlapping boxes in place of dropping them (--nms then has no part);"
        f" a larger SIGMA lowers less, 0 is off (without a number: {DEFAULT_SIGMA:g}; default: off)",
    )


def parse_threshold(text: str) -> float | str:
    """Read what `--thresh` takes: a number, or the name of a file of thresholds by class.

    Returns:
        The number, or the text as it is.

    Raises:
        argparse.ArgumentTypeError: a number below 0, or of 1 or more.
    """
    try:
        value = float(text)
    except ValueError:
        if text.strip():
            return text
        value = math.nan
    if 0 <= value < 1:
        return value
    raise argparse.ArgumentTypeError(
        f"expected a number from 0 to below 1, or a file of thresholds by class, found {text!r}"
    )


def thresholds_of(value: str | os.PathLike | float, detector: Detector) -> float | np.ndarray:
    """Return the score thresholds that `--thresh` means.

    Args:
        value: a number, as text too, or a file that evaluate.py --report wrote.
        detector: whose classes the file names; those that it does not name get 0.5.

    Returns:
        One for all classes, or (C,) float64 one for each, in the order of the ids.

    Raises:
        ConfigError: the number cannot be; or the file is missing, is something else, or names another class.
    """
    try:
        value = parse_threshold(str(value))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--thresh: {error}") from error
    return value if isinstance(value, float) else read_thresholds(value, detector.class_names)


def add_device_flags(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the flags that choose where to compute."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--gpus",
        "--gpu",
        metavar="0,1",
        help="GPUs by number, '' for the CPU (default: all there are, else the CPU)",
    )
    group.add_argument("--cpu", action="store_true", help="compute on the CPU")
    group.add_argument(
        "--providers",
        metavar="A,B",
        help="of onnxruntime, for an ONNX file, best first: CPUExecutionProvider, CUDAExecutionProvider, ..."
        " (default: CUDA where it is, and the CPU)",
    )
    group.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="images computed at once"
    )


def open_detector(args: argparse.Namespace, *, class_names: tuple[str, ...] = (), **settings) -> Detector:
    """Load the detector that flags describe.

    Args:
        args: of a parser with the flags above.
        class_names: taken where neither the flags nor a card name any.
        **settings: of the Detector, beside those that have flags.

    Raises:
        CheckpointError: the files are missing, damaged, or do not fit the flags.
        ConfigError: a flag cannot be.
    """
    prefix = find_prefix(args)
    devices = None if is_onnx(prefix) else contexts(args.gpus, cpu=args.cpu)
    if devices:
        use_synchronous_engine(devices)
    saved = load_any(prefix, args.epoch, _providers(args, prefix))
    settings = {**_settings(args, saved, class_names), **settings}
    if args.soft_nms and args.nms is not None:
        log.warning("--nms %g has no part in --soft-nms, which drops no box", args.nms)
    with naming_flags({**DETECTION_FLAGS, **_OTHER_FLAGS}):
        return Detector.from_saved(saved, context=devices, batch_size=args.batch_size, **settings)


def _providers(args: argparse.Namespace, prefix: str) -> tuple[str, ...]:
    """Return the providers of onnxruntime that flags state; none where they do not.

    Raises:
        ConfigError: flags are for the other kind of files.
    """
    stated = tuple(part.strip() for part in (args.providers or "").split(",") if part.strip())
    if stated and not is_onnx(prefix):
        raise ConfigError(f"--providers is for ONNX files, and {prefix} is none: leave it out")
    on_gpu = args.gpus is not None and args.gpus.strip().lower() not in ("", "cpu") and not args.cpu
    if is_onnx(prefix) and on_gpu:
        raise ConfigError(
            f"--gpus {args.gpus}: is for MXNet; for {prefix} give --providers CUDAExecutionProvider"
        )
    on_cpu = is_onnx(prefix) and (args.cpu or args.gpus is not None)
    return stated or (("CPUExecutionProvider",) if on_cpu else ())


def _settings(
    args: argparse.Namespace, saved: SavedDetector | OnnxDetector, class_names: tuple[str, ...]
) -> dict:
    """Return the Detector's settings that flags state; None stands for what they do not."""
    card = saved.card
    if card and args.network and card.network and args.network != card.network:
        raise ConfigError(
            f"{saved.prefix}: its card says {card.network}, not --network {args.network}: check --prefix"
        )
    names = read_class_names(args.class_names) if args.class_names else () if card else class_names
    if card and names and names != card.class_names:
        raise ConfigError(
            f"{saved.prefix}: its card names the classes {','.join(card.class_names)}, --class-names says"
            f" {','.join(names)}: leave the flag out"
        )
    return {
        "network": args.network if card is None else None,
        "data_shape": args.data_shape,
        "class_names": names or None,
        "mean": stated_mean(args, saved),
        "soft_nms_sigma": args.soft_nms,
        **stated(args, DETECTION_FLAGS),
    }


def stated_mean(args: argparse.Namespace, saved: SavedDetector) -> tuple[float, float, float] | None:
    """Return the mean (R, G, B) that the flags state, None where they state nothing.

    Raises:
        ConfigError: a value is not finite.
    """
    given = (args.mean_r, args.mean_g, args.mean_b)
    if given == (None, None, None):
        return None
    for channel, value in zip("rgb", given):
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"--mean-{channel} {value}: expected a number, 0 to 255")
    usual = saved.card.mean if saved.card else _OLD_MEAN
    return tuple(old if new is None else new for new, old in zip(given, usual))


def find_prefix(args: argparse.Namespace) -> str:
    """Return the prefix that flags mean.

    Raises:
        ConfigError: a prefix that ends in _ without --network.
        CheckpointError: several detectors, or none, begin like that.
    """
    prefix = args.prefix or (str(MODEL_FOLDER / "ssd_") if args.network else str(SHIPPED_MODEL))
    if not prefix.endswith("_") or _lies(prefix):
        return prefix
    if not args.network:
        raise ConfigError(
            f"--prefix {prefix}: ends in _, so --network (and --data-shape) must say how it goes on"
        )
    stem = f"{prefix}{args.network}"
    if args.data_shape:
        height, width = args.data_shape
        shaped = f"{stem}_{height}" if height == width else f"{stem}_{height}x{width}"
        # mxnet-ssd's demo and deploy append the shape, its evaluate does not
        return stem if _lies(stem) and not _lies(shaped) else shaped
    return _only_prefix(stem)


def _lies(prefix: str) -> bool:
    """Tell whether a detector lies at a prefix; mxnet-ssd's releases may be parameters alone."""
    return symbol_path(prefix).exists() or bool(epochs_on_disk(prefix))


def _only_prefix(stem: str) -> str:
    """Return the one detector whose prefix is `stem` or begins with `stem_`."""
    path = Path(stem)
    files = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    names = {_FILE_ENDING.sub("", name) for name in files if _FILE_ENDING.search(name)}
    found = sorted(name for name in names if name == path.name or name.startswith(f"{path.name}_"))
    if len(found) != 1:
        there = f"several ({', '.join(found)}): choose by --data-shape" if found else "none: check --prefix"
        raise CheckpointError(f"{stem}*-symbol.json, -NNNN.params: expected one such detector, found {there}")
    return str(path.parent / found[0])
