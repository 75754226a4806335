"""A network ready to be measured: what the preparing process (prepare.py) has written for it, and where."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import SSDError
from tools.benchmarks.settings import Settings
from tools.benchmarks.worker import Worker

_IMAGES = 8  # or two batches, where that is more


@dataclass
class Prepared:
    """A network ready to be measured.

    Attributes:
        about: what it is (prepare.Prepare.do_describe).
        folder: of its files.
        images: files of pixels and inputs.
        onnx: batch -> file.
        deployed: precision -> prefix.
        calibration: file of inputs, "" without int8.
        errors: precision -> why it cannot be had.
    """

    about: dict
    folder: Path
    images: dict
    onnx: dict[int, str] = field(default_factory=dict)
    deployed: dict[str, str] = field(default_factory=dict)
    calibration: str = ""
    errors: dict[str, str] = field(default_factory=dict)


def prepare(settings: Settings, network: str, folder: Path) -> Prepared:
    """Make or find one detector, deploy it, and hand it over.

    Args:
        settings: of the measurement.
        network: which; "" takes the prefix.
        folder: for its files.

    Raises:
        ConfigError: the network is unknown, or the prefix is none.
        SSDError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with settings.preparing() as worker:
        about = _describe(settings, network, folder, worker)
        where = {"prefix": about["prefix"], "epoch": about["epoch"]}
        count = max(_IMAGES, 2 * max(settings.batches))
        count = -(-count // max(settings.batches)) * max(settings.batches)
        images = worker.ask(
            "images", **where, count=count, seed=settings.seed, folder=str(folder), source=settings.images
        )
        found = Prepared(about, folder, images)
        if settings.peers:
            for batch in settings.batches:
                path = str(folder / f"heads_{batch}.onnx")
                found.onnx[batch] = worker.ask("onnx", **where, batch=batch, path=path)["path"]
        for precision in dict.fromkeys(("float32", *settings.precisions)):  # int8 is held to float32
            with _noting(found.errors, precision):
                _deploy(settings, worker, found, precision)
        return found


@contextlib.contextmanager
def _noting(errors: dict[str, str], precision: str):
    """Note why int8 cannot be had; float32 must."""
    try:
        yield
    except SSDError as error:
        if precision == "float32":
            raise
        errors[precision] = str(error)


def _describe(settings: Settings, network: str, folder: Path, worker: Worker) -> dict:
    if not network:
        return worker.ask("describe", prefix=settings.prefix, epoch=settings.epoch)
    return worker.ask(
        "make", network=network, classes=settings.classes, seed=settings.seed, folder=str(folder)
    )


def _deploy(settings: Settings, worker: Worker, found: Prepared, precision: str) -> None:
    """Run deploy.py, for int8 with records to calibrate with."""
    where = {"prefix": found.about["prefix"], "epoch": found.about["epoch"]}
    flags: list[str] = []
    if precision == "int8":
        records = worker.ask(
            "records", **where, seed=settings.seed, folder=str(found.folder), records=settings.calib_path
        )
        found.calibration = records["inputs"]
        flags = ["--quantize", "int8", "--calib-path", records["records"]]
        if not settings.prefix:  # of random weights the mAP says nothing
            flags += ["--max-drop", "1"]
    out = str(found.folder / f"deployed-{precision}")
    found.deployed[precision] = worker.ask("deploy", **where, out=out, flags=flags)["prefix"]
