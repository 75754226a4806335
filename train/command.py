"""train.py: from flags, records and a prefix to a run, new or resumed.

The card keeps the settings, so `--resume` needs the prefix alone; flags given beside it change what may change.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import shlex
import sys
from pathlib import Path

from common import mx as runtime
from common.command import command
from common.errors import ConfigError, TrainingError
from common.files import exclusive_lock
from dataset.iterator import TrainingIterator
from model.card import Card, read_card
from train.checkpoint import Checkpoints
from train.devices import DeviceGroup
from train.flags import build_parser
from train.from_flags import watching
from train.log import ResultsFile, attach_log_file, detach
from train.log_folder import LogFolder, log_runs
from train.log_values import texts_of
from train.loop import Interrupted, Run
from train.matching import choose
from train.monitor import LogSink, Monitor
from train.network_flags import DEFAULT_SHAPE
from train.observers import Observer
from train.pictures import RunPictures
from train.plan import Plan, input_shapes, plan_new, plan_resume, training_entry
from train.settings import Watching
from train.start import frozen_names
from train.validation import Validation

log = logging.getLogger(__name__)


@command
def main(argv: list[str] | None = None) -> int:
    """Run train.py.

    Args:
        argv: flags, those of the process where None.

    Returns:
        0, or 130 where the user stopped the run.
    """
    args = build_parser().parse_args(argv)
    prefix = _prefix(args)
    with exclusive_lock(f"{prefix}.lock", f"--prefix {prefix}"):
        handlers = attach_log_file(Path(prefix).parent / args.log)
        try:
            return _train(args, prefix, argv)
        finally:
            detach(handlers)


def _prefix(args: argparse.Namespace) -> str:
    """Return the prefix; as with mxnet-ssd, one that ends in `_` gets the input size appended."""
    if args.prefix.endswith("_"):
        height, width = args.data_shape or DEFAULT_SHAPE
        return f"{args.prefix}{height}" if height == width else f"{args.prefix}{height}x{width}"
    if not Path(args.prefix).name or args.prefix.endswith(("/", os.sep)):
        raise ConfigError(
            f"--prefix {args.prefix}: expected a path that ends in a name, like output/exp1/ssd"
        )
    return args.prefix


def _train(args: argparse.Namespace, prefix: str, argv: list[str]) -> int:
    wanted = args.resume if args.resume not in ("-1", "0") else None
    contexts = _contexts(args, prefix, resumed=wanted is not None)
    plan = plan_resume(args, prefix, wanted, contexts) if wanted else plan_new(args, prefix, contexts)
    typed = shlex.join(["train.py", *argv])
    log.info(typed)
    run = _make_run(plan, prefix, contexts, args, typed)
    try:
        try:
            run.train(plan.position)
        finally:
            run.batches.close()
    except KeyboardInterrupt:
        saved = run.checkpoints.last_good()
        log.info(f"stopped at once; {saved}; go on with: {_resume_command(args, prefix)}")
        return 130
    except Interrupted as stopped:
        log.info(f"stopped: {stopped}; go on with: {_resume_command(args, prefix)}")
        return 130
    except OSError as error:
        raise TrainingError(
            f"{error.filename or prefix}: {error.strerror or error}: make room, or mend what it says;"
            f" {run.checkpoints.last_good()}; go on with: {_resume_command(args, prefix)}"
        ) from error
    card = run.checkpoints.card
    best = f", best epoch {card.best} (mAP {card.epochs[card.best]['mAP']:.4f})" if card.best else ""
    log.info(f"done: {prefix}, last epoch {card.last}{best}")
    return 0


def _contexts(args: argparse.Namespace, prefix: str, *, resumed: bool) -> list:
    """Return the devices by the flags; a resumed run without --gpus gets as many as it had, where they are there."""
    given = runtime.contexts(args.gpus, cpu=args.cpu)
    card = read_card(prefix) if resumed and args.gpus is None else None
    settings = card.training.get("settings") if card else None
    count = settings.get("contexts") if isinstance(settings, dict) else None
    if not isinstance(count, int) or count < 1:
        return given
    return runtime.contexts(f"cpu:{count}") if given[0].device_type == "cpu" else given[:count]


def _resume_command(args: argparse.Namespace, prefix: str) -> str:
    """Return the command that goes on with a run, on the same devices."""
    parts = ["python", "train.py", "--prefix", prefix, "--resume"]
    if args.gpus is not None:
        parts += ["--gpus", args.gpus]
    if args.cpu:
        parts.append("--cpu")
    return " ".join(shlex.quote(part) for part in parts)


def _make_run(plan: Plan, prefix: str, contexts: list, args: argparse.Namespace, typed: str) -> Run:
    """Build iterator, devices and validation from a plan; only then the prefix is written to."""
    settings, card, position = plan.settings, plan.card, plan.position
    batches = TrainingIterator(
        plan.train,
        batch_size=settings.batch_size,
        data_shape=card.data_shape,
        mean=card.mean,
        std=card.std,
        augmentation=settings.augmentation,
        seed=settings.seed,
        workers=settings.workers,
        folder=Path(prefix).parent / f".{Path(prefix).name}.records",
    )
    schedule = settings.schedule(batches.batches_per_epoch)
    frozen = frozen_names(plan.symbol, settings.freeze)
    updates_done = position.epoch * batches.batches_per_epoch + position.batch
    devices, feed = _make_devices(plan, contexts, frozen, updates_done)
    validation = None
    if plan.val is not None:
        rule = (settings.metric, settings.overlap, settings.use_difficult)
        validation = Validation(
            plan.val, plan.symbol, card, contexts[0], *rule, settings.loss, settings.batch_size
        )
    watched = watching(args, card)
    checkpoints = plan.checkpoints or Checkpoints(prefix, card, settings.checkpoint_period)
    checkpoints.card = dataclasses.replace(
        card, training=training_entry(settings, plan.train, card.training["results"], watched)
    )
    logs = LogFolder.of_run(prefix, card.training["results"], position, batches.batches_per_epoch)
    observers = _make_observers(plan, checkpoints.card, devices, logs, watched, typed)
    checkpoints.begin(plan.symbol)
    _trim(logs, continued=watched.tensorboard)
    results = ResultsFile.open(Path(prefix).parent / card.training["results"], position.epoch)
    _describe(plan, batches, contexts, frozen)
    bar = _make_bar(watched.batches(batches.batches_per_epoch))
    observers.append(RunPictures(results.path, card))
    return Run(settings, schedule, batches, feed, devices, checkpoints, results, validation, bar, observers)


def _make_observers(
    plan: Plan, card: Card, devices: DeviceGroup, logs: LogFolder, watched: Watching, typed: str
) -> list[Observer]:
    """Return what watches the run; nothing that an earlier run left is changed."""
    observers, sink = [], LogSink()
    if watched.tensorboard:
        from train.tensorboard import Board, TensorBoard

        sink = Board(logs, log_runs(validated=plan.val is not None, monitored=watched.monitor > 0))
        texts = texts_of(typed, card, plan.train, plan.val)
        observers.append(TensorBoard(sink, texts, frequent=watched.batches(logs.batches_per_epoch)))
        log.info(f"look at the run with: tensorboard --logdir {shlex.quote(str(logs.root))}")
    if watched.monitor > 0:
        observers.append(Monitor(devices, every=watched.monitor, pattern=watched.pattern, sink=sink))
    return observers


def _trim(logs: LogFolder, *, continued: bool) -> None:
    """Drop from TensorBoard's logs what the run replaces, also where it does not go on with them itself."""
    try:
        logs.trim(continued=continued)
    except ConfigError as error:
        if continued:
            raise
        log.warning(str(error))


def _make_devices(plan: Plan, contexts: list, frozen: list[str], updates_done: int) -> tuple:
    """Return the devices, at the plan's position, and what turns labels into their inputs."""
    settings, card, position = plan.settings, plan.card, plan.position
    shapes = input_shapes(settings, card.data_shape, plan.train)
    matching = choose(
        contexts,
        plan.symbol,
        shapes["label"],
        data_shape=card.data_shape,
        anchors=card.anchors,
        loss=settings.loss,
        num_classes=card.num_classes,
    )
    inputs = {"data": shapes["data"], **matching.input_shapes}
    devices = DeviceGroup(matching.symbol, contexts, inputs, position.arg_params, position.aux_params, frozen)
    devices.init_optimizer(
        settings.optimizer,
        position.states,
        momentum=settings.momentum,
        wd=settings.wd,
        clip=settings.clip_gradient,
        updates_done=updates_done,
    )
    devices.set_aux_by_device(position.states or {})
    return devices, matching.feed


def _describe(plan: Plan, batches: TrainingIterator, contexts: list, frozen: list[str]) -> None:
    """Say what will be trained on what."""
    card, settings = plan.card, plan.settings
    height, width = card.data_shape
    log.info(
        f"{card.network} {height}x{width}, {card.num_classes} classes, {len(plan.train)} images,"
        f" {batches.batches_per_epoch} batches of {settings.batch_size} an epoch, on"
        f" {', '.join(str(ctx) for ctx in contexts)} with {runtime.num_threads} threads,"
        f" {settings.workers} decoding" + (f"; {len(frozen)} parameters frozen" if frozen else "")
    )


def _make_bar(frequent: int):
    """Return a function that puts a progress bar around an epoch's batches on terminals."""
    if not sys.stderr.isatty():
        return lambda source, count, first, epoch: source
    from tqdm import tqdm

    return lambda source, count, first, epoch: tqdm(
        source,
        total=count,
        initial=first,
        desc=f"epoch {epoch + 1}",
        leave=False,
        miniters=max(1, frequent // 4),
    )
