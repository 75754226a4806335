"""tools/benchmark.py: how fast training is, against what the processor's time allows.

Three things are measured in turn, several times, in one process: the bare step (one batch again and again), decoding
and augmentation alone on all cores, and the real loop. The bound is 1 / (1 / bare + 1 / decoding): the cores do either.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import mx as runtime
from common.command import CommandParser, command, parse_shape
from common.mx import mx
from dataset.augmentation import recipe
from dataset.iterator import Batch, TrainingIterator, default_workers
from dataset.records import RecordDataset
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from train.devices import DeviceGroup
from train.matching import choose
from train.start import initial_params


def build_parser() -> CommandParser:
    """Return the parser of tools/benchmark.py."""
    parser = CommandParser(prog="benchmark.py", description="Measure the training loop against its bound.")
    parser.add_argument("--training", action="store_true", required=True, help="measure training")
    parser.add_argument("--input", required=True, metavar="FILE.rec", help="packed records")
    parser.add_argument("--network", default="ssd7", metavar="NAME", help="preset")
    parser.add_argument(
        "--data-shape", type=parse_shape, default=(300, 300), metavar="H[,W]", help="input size"
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images in a batch")
    parser.add_argument("--augment", default="ssd", metavar="NAME", help="augmentation recipe")
    parser.add_argument("--workers", type=int, metavar="N", help="decoding iterators (default: the cores)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="times that each is measured")
    return parser


@command
def main(argv: list[str] | None = None) -> int:
    """Measure and print medians and the ratio."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        batches, trainer = _set_up(args, Path(folder))
        epochs = iter(range(10**6))
        sample = next(batches.epoch(next(epochs), next_epoch=False))
        trainer.step(sample)  # the first one chooses kernels
        rounds = [_round(batches, trainer, sample, epochs) for _ in range(args.repeats + 1)][1:]
        batches.close()
    _report(args, rounds)
    return 0


def _set_up(args: argparse.Namespace, folder: Path) -> tuple[TrainingIterator, Trainer]:
    """Make the iterator and a network with random parameters."""
    dataset = RecordDataset(args.input)
    config = network_config(args.network, args.data_shape, max(1, len(dataset.class_names)))
    loss = LossConfig()
    symbol = training_symbol(heads(config), config.num_classes, config.anchors.variances, loss)
    batches = TrainingIterator(
        dataset,
        batch_size=args.batch_size,
        data_shape=args.data_shape,
        mean=config.mean,
        std=config.std,
        augmentation=recipe(args.augment),
        seed=0,
        workers=args.workers or default_workers(runtime.num_threads),
        folder=folder / "records",
    )
    objects = (dataset.label_pad_width - 2) // dataset.object_width
    shapes = {
        "data": (args.batch_size, 3, *args.data_shape),
        "label": (args.batch_size, objects, dataset.object_width),
    }
    contexts = runtime.contexts(None)
    matching = choose(
        contexts,
        symbol,
        shapes["label"],
        data_shape=args.data_shape,
        anchors=config.anchors,
        loss=loss,
        num_classes=config.num_classes,
    )
    inputs = {"data": shapes["data"], **matching.input_shapes}
    devices = DeviceGroup(matching.symbol, contexts, inputs, *initial_params(symbol, shapes, 0))
    devices.init_optimizer("sgd", None, momentum=0.9, wd=0.0005, clip=5.0, updates_done=0)
    return batches, Trainer(devices, matching.feed)


@dataclass(frozen=True)
class Trainer:
    """The network and what feeds it."""

    devices: DeviceGroup
    feed: Callable

    def step(self, batch: Batch) -> None:
        """Train on one batch at a rate that changes nothing much."""
        loss = self.devices.forward_backward({"data": batch.data, **self.feed(batch.label)})
        self.devices.update(1e-6, loss.normaliser(3.0))


def _round(batches: TrainingIterator, trainer: Trainer, sample: Batch, epochs) -> dict[str, float]:
    """Measure each of the three once, in images a second."""
    count = batches.batches_per_epoch

    def bare() -> None:
        for _ in range(count):
            trainer.step(sample)

    def decoding() -> None:
        for batch in batches.epoch(next(epochs), next_epoch=False):
            batch.data.wait_to_read()

    def loop() -> None:
        for last in (False, True):
            for batch in batches.epoch(next(epochs), next_epoch=not last):
                trainer.step(batch)

    images = count * len(sample.records)
    return {
        "bare": images / _seconds(bare),
        "decoding": images / _seconds(decoding),
        "loop": 2 * images / _seconds(loop),
    }


def _seconds(work: Callable[[], None]) -> float:
    """Return how long work takes, to the end of everything that it has begun."""
    mx.nd.waitall()
    started = time.perf_counter()
    work()
    mx.nd.waitall()
    return time.perf_counter() - started


def _report(args: argparse.Namespace, rounds: list[dict[str, float]]) -> None:
    """Print each measure's median and range, the bound, and the loop's ratio to it, taken round by round."""
    height, width = args.data_shape
    print(
        f"{args.network} {height}x{width}, batch {args.batch_size}, {runtime.num_threads} threads,"
        f" {platform.machine()}, MXNet {mx.__version__}, {len(rounds)} rounds"
    )
    for name in ("bare", "decoding", "loop"):
        values = [measured[name] for measured in rounds]
        print(
            f"  {name:<9}{statistics.median(values):8.1f} images/s  ({min(values):.1f} to {max(values):.1f})"
        )
    bounds = [1 / (1 / measured["bare"] + 1 / measured["decoding"]) for measured in rounds]
    ratios = [measured["loop"] / bound for measured, bound in zip(rounds, bounds)]
    print(f"  {'bound':<9}{statistics.median(bounds):8.1f} images/s, 1 / (1 / bare + 1 / decoding)")
    print(f"  loop / bound {statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")
    if max(ratios) > 1.2 * min(ratios):
        print("  the machine was too noisy to tell: the rounds differ by more than a fifth")
