"""Makes what is measured: detectors with random weights or a trained one, deployed, and as ONNX; images and records.

Runs in a process of its own (`workers/serve.py prepare`), so that neither the parent nor the process that is measured
has the memory, or the engine, that making took.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import numpy as np

from common import images as image_files
from common.command import parse_shape
from common.errors import ConfigError, SSDError
from common.mx import mx
from common.settings import naming_flags
from dataset import prepare_command
from dataset.records import RecordDataset
from dataset.scenes import CLASS_NAMES, draw_scene, write_scenes
from deploy import command as deploy_command
from detect.preprocess import network_input
from detect.sources import find_images
from model.card import Card
from model.graph import anchors_of
from model.saved import load, require_card, save
from symbol.anchors import AnchorConfig
from symbol.loss import LossConfig, training_symbol
from symbol.presets import default_shape, is_known, network_config
from tools.benchmarks import random_detector
from tools.benchmarks.heads_onnx import write_heads

CALIBRATION_IMAGES = 64
_SCENE = (500, 375)  # (width, height) in pixels of a drawn scene; VOC's usual size


class Prepare:
    """Makes files in a folder, for the processes that measure."""

    def versions(self) -> dict:
        """Return the version of MXNet."""
        return {"mxnet": mx.__version__}

    def do_make(self, network: str, classes: int, seed: int, folder: str, anchors_per_cell: int = 0) -> dict:
        """Make a detector with random weights.

        Args:
            network: with the input's size, "ssd7_300", or without.
            classes: foreground classes.
            seed: equal seeds give equal detectors.
            folder: where to write.
            anchors_per_cell: default boxes of each cell; 0 for the network's own.
        """
        name, shape = parse_network(network)
        config = network_config(name, shape, classes)
        if anchors_per_cell:
            config = dataclasses.replace(config, anchors=_with_boxes(config.anchors, anchors_per_cell))
        scenes = np.stack([_planes(image, config) for image in _scenes(seed, 4)])
        made = random_detector.make(config, seed, scenes)
        graph = training_symbol(made.heads, classes, config.anchors.variances, LossConfig())
        values = {key: getattr(config, key) for key in ("network", "data_shape", "mean", "std", "anchors")}
        prefix = Path(folder) / "ssd"
        card = Card(class_names=class_names(classes), epochs={1: {}}, **values)
        save(prefix, 1, graph, (made.arg_params, made.aux_params), card)
        return self.do_describe(str(prefix), None)

    def do_describe(self, prefix: str, epoch: str | None) -> dict:
        """Return what a detector is: name, shape, classes, default boxes, bytes of its parameters."""
        saved = load(prefix, epoch)
        card = require_card(saved, {})
        boxes = anchors_of(saved.symbol, saved.arg_params, card.data_shape, prefix)
        size = sum(array.size * 4 for part in (saved.arg_params, saved.aux_params) for array in part.values())
        height, width = card.data_shape
        side = f"{height}" if height == width else f"{height}x{width}"
        return {
            "prefix": prefix,
            "epoch": saved.epoch,
            "name": f"{card.network or Path(prefix).name}_{side}",
            "shape": [height, width],
            "classes": card.num_classes,
            "anchors": len(boxes),
            "variances": list(card.anchors.variances),
            "parameter_bytes": size,
        }

    def do_images(
        self, prefix: str, epoch: int, count: int, seed: int, folder: str, source: str | None
    ) -> dict:
        """Write images for a detector: pixels.npy (N, H, W, 3) uint8 of its size, and inputs.npy (N, 3, H, W) of them.

        Args:
            prefix: of the detector.
            epoch: of it.
            count: of images.
            seed: of drawn scenes.
            folder: where to write.
            source: folder of images; None draws scenes.
        """
        card = require_card(load(prefix, epoch), {})
        found = _from_folder(source, count) if source else _scenes(seed, count)
        pixels = np.stack([_resized(image, card.data_shape) for image in found])
        inputs = np.stack([_planes(image, card) for image in pixels])
        paths = {name: str(Path(folder) / f"{name}.npy") for name in ("pixels", "inputs")}
        np.save(paths["pixels"], pixels)
        np.save(paths["inputs"], inputs)
        return paths

    def do_onnx(self, prefix: str, epoch: int, batch: int, path: str) -> dict:
        """Write a detector's heads, plain as trained, as ONNX for batches of one size."""
        saved = load(prefix, epoch)
        shape = require_card(saved, {}).data_shape
        write_heads(saved.symbol, (saved.arg_params, saved.aux_params), shape, batch, path, name=prefix)
        return {"path": path}

    def do_deploy(self, prefix: str, epoch: int, out: str, flags: list) -> dict:
        """Run deploy.py as a user would."""
        said = io.StringIO()
        arguments = ["--prefix", prefix, "--epoch", str(epoch), "--out", out, *flags]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = deploy_command.main(arguments)
            except SystemExit as stopped:  # a flag that it does not know
                code = stopped.code
        if code:
            raise SSDError(f"deploy.py {' '.join(flags)}: {' '.join(said.getvalue().split())[-600:]}")
        return {"prefix": out, "said": said.getvalue()}

    def do_records(self, prefix: str, epoch: int, seed: int, folder: str, records: str | None) -> dict:
        """Give records to calibrate with, and their images as inputs for other engines.

        Args:
            prefix: of the detector.
            epoch: of it.
            seed: of drawn scenes.
            folder: where to write.
            records: packed file of the user's; None packs drawn scenes.
        """
        card = require_card(load(prefix, epoch), {})
        records = records or _pack_scenes(Path(folder), seed, card.class_names)
        with RecordDataset(records) as dataset:
            places = np.linspace(0, len(dataset) - 1, min(CALIBRATION_IMAGES, len(dataset))).astype(int)
            images = [dataset.read(int(place)).image for place in places]
        inputs = np.stack([_planes(image_files.decode(image, records), card) for image in images])
        path = str(Path(folder) / "calibration.npy")
        np.save(path, inputs)
        return {"records": records, "inputs": path}

    def do_training(self, prefix: str, batch: int, seed: int, folder: str) -> dict:
        """Write a training batch: images (B, 3, H, W), labels (B, M, 5) and the detector's anchors (A, 4)."""
        saved = load(prefix)
        card = require_card(saved, {})
        drawn = [draw_scene((seed, 1, i), _SCENE, empty_share=0) for i in range(batch)]
        most = max(1, *(len(ids) for _, _, ids in drawn))
        labels = np.full((batch, most, 5), -1, np.float32)
        for row, (_, boxes, ids) in zip(labels, drawn):
            row[: len(ids), 0] = ids % card.num_classes
            row[: len(ids), 1:] = boxes / np.array([*_SCENE, *_SCENE])
        arrays = {
            "images": np.stack([_planes(image, card) for image, _, _ in drawn]),
            "labels": labels,
            "anchors": anchors_of(saved.symbol, saved.arg_params, card.data_shape, prefix),
        }
        path = str(Path(folder) / "training.npz")
        np.savez(path, **arrays)
        return {"arrays": path}


def parse_network(text: str) -> tuple[str, tuple[int, int]]:
    """Read a network with its input size: "vgg16_reduced_300", "ssd7_300x480"; without a size the network's own.

    Raises:
        ConfigError: the network is unknown, or the size cannot be.
    """
    found = re.fullmatch(r"(.+)_(\d+(?:[x,]\d+)?)", text)
    if found and not is_known(text):
        try:
            shape = parse_shape(found.group(2))
        except Exception as error:  # argparse's own
            raise ConfigError(f"--networks {text}: {error}") from error
        default_shape(found.group(1))  # raises where it is unknown
        return found.group(1), shape
    return text, default_shape(text)


def class_names(count: int) -> tuple[str, ...]:
    """Return names for so many classes, those of drawn scenes first."""
    return tuple([*CLASS_NAMES, *(f"class{i}" for i in range(len(CLASS_NAMES), count))][:count])


def _with_boxes(anchors: AnchorConfig, per_cell: int) -> AnchorConfig:
    """Return default boxes with so many for each cell, of ratios from flat to tall."""
    ratios = tuple(float(ratio) for ratio in np.geomspace(1 / 3, 3, per_cell))
    return dataclasses.replace(
        anchors,
        sizes=tuple(sizes[:1] for sizes in anchors.sizes),
        ratios=(ratios,) * len(anchors.sizes),
        order=(),
    )


def _scenes(seed: int, count: int) -> list[np.ndarray]:
    """Draw scenes, none of them empty."""
    return [draw_scene((seed, i), _SCENE, empty_share=0)[0] for i in range(count)]


def _from_folder(source: str, count: int) -> list[np.ndarray]:
    """Read the first images of a folder, again from the beginning where there are too few.

    Raises:
        ConfigError: there are none.
    """
    with naming_flags({"--dir": "--images"}):
        paths = find_images([], source)
    return [image_files.read(paths[i % len(paths)]) for i in range(count)]


def _planes(image: np.ndarray, config) -> np.ndarray:
    """Return what a network is fed; `config` is its configuration or its card."""
    return network_input(image, config.data_shape, config.mean, config.std)


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return an image of another size, (H, W, 3)."""
    planes = network_input(image, shape, (0.0,) * 3, (1.0,) * 3)
    return np.ascontiguousarray(planes.transpose(1, 2, 0)).astype(np.uint8)


def _pack_scenes(folder: Path, seed: int, names: tuple[str, ...]) -> str:
    """Pack drawn scenes as records with a detector's class names."""
    root, target = folder / "scenes", folder / "calibration.lst"
    write_scenes(root, CALIBRATION_IMAGES, seed=seed, size=_SCENE, empty_share=0)
    flags = ["--dataset", "voc", "--root", str(root), "--set", "train", "--target", str(target)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = prepare_command.main([*flags, "--class-names", ",".join(names)])
    if code:
        raise SSDError(f"prepare_dataset.py: {' '.join(said.getvalue().split())[-600:]}")
    return str(target.with_suffix(".rec"))


def make(threads: int) -> Prepare:
    """Make the worker's engine."""
    return Prepare()
