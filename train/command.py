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
from train.assemble import make_batches, make_network
from train.checkpoint import Checkpoints
from train.devices import DeviceGroup
from train.distributed import joined, send_plan
from train.finetune_flag import settled
from train.flags import build_parser
from train.follower import follow
from train.from_flags import watching, without_effect
from train.list_networks import networks_text
from train.log import ResultsFile, attach_log_file, detach
from train.log_folder import LogFolder, log_runs
from train.log_values import texts_of
from train.loop import Interrupted, Run
from train.monitor import LogSink, Monitor
from train.network_flags import chosen_shape
from train.observers import Observer
from train.parts import described_rates
from train.pictures import RunPictures
from train.plan import Plan, plan_new, plan_resume, training_entry
from train.progress import Progress
from train.schedule import REFERENCE_BATCH
from train.settings import Watching
from train.validation import Validation
from train.workers import Workers

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
    if args.list_networks is not None:
        print(networks_text(args))
        return 0
    with joined(args) as workers:
        if not workers.leads:
            return follow(args, workers, args.out or _prefix(args))
        args, prefix = settled(args, _prefix(args), argv)
        with exclusive_lock(f"{prefix}.lock", f"--prefix {prefix}"):
            handlers = attach_log_file(Path(prefix).parent / args.log)
            try:
                return _train(args, prefix, argv, workers)
            finally:
                detach(handlers)


def _prefix(args: argparse.Namespace) -> str:
    """Return the prefix; as with mxnet-ssd, one that ends in `_` gets the input size appended."""
    if args.prefix.endswith("_"):
        height, width = chosen_shape(args)
        return f"{args.prefix}{height}" if height == width else f"{args.prefix}{height}x{width}"
    if not Path(args.prefix).name or args.prefix.endswith(("/", os.sep)):
        raise ConfigError(
            f"--prefix {args.prefix}: expected a path that ends in a name, like output/exp1/ssd"
        )
    return args.prefix


def _train(args: argparse.Namespace, prefix: str, argv: list[str], workers: Workers) -> int:
    wanted = args.resume if args.resume not in ("-1", "0") else None
    contexts = _contexts(args, prefix, resumed=wanted is not None)
    plan = plan_resume(args, prefix, wanted, contexts) if wanted else plan_new(args, prefix, contexts)
    typed = shlex.join(["train.py", *argv])
    log.info(typed)
    for line in without_effect(args, plan.settings):
        log.warning(line)
    send_plan(workers, plan, contexts)
    run = _make_run(plan, prefix, contexts, args, typed, workers)
    try:
        try:
            run.train(plan.position)
        finally:
            run.batches.close()
    except KeyboardInterrupt as stopped:
        workers.fail(stopped)
        saved = run.checkpoints.last_good()
        log.info(f"stopped at once; {saved}; go on with: {_resume_command(args, prefix, workers)}")
        return 130
    except Interrupted as stopped:
        log.info(f"stopped: {stopped}; go on with: {_resume_command(args, prefix, workers)}")
        return 130
    except OSError as error:
        raise TrainingError(
            f"{error.filename or prefix}: {error.strerror or error}: make room, or mend what it says;"
            f" {run.checkpoints.last_good()}; go on with: {_resume_command(args, prefix, workers)}"
        ) from error
    card = run.checkpoints.card
    best = f", best epoch {card.best} (mAP {card.epochs[card.best]['mAP']:.4f})" if card.best else ""
    log.info(f"done: {prefix}, last epoch {card.last}{best}")
    return 0


def _progress(plan: Plan, prefix: str) -> Progress:
    """Return how far the run has come at the plan's position.

    Raises:
        ConfigError: it was stopped early there, and would be again.
    """
    progress = Progress.of_epoch(plan.card.epochs.get(plan.position.epoch, {}), f"{prefix}.json")
    why = progress.stop(plan.settings)
    if why:
        raise ConfigError(
            f"{prefix}: the run was stopped early after epoch {progress.epoch}, since {why}: a greater"
            " --early-stopping, or --early-stopping 0, trains on"
        )
    return progress


def _contexts(args: argparse.Namespace, prefix: str, *, resumed: bool) -> list:
    """Return the devices by the flags; a resumed run without --gpus gets as many as it had, where they are there."""
    given = runtime.contexts(args.gpus, cpu=args.cpu)
    card = read_card(prefix) if resumed and args.gpus is None else None
    settings = card.training.get("settings") if card else None
    count = settings.get("contexts") if isinstance(settings, dict) else None
    if not isinstance(count, int) or count < 1:
        return given
    return runtime.contexts(f"cpu:{count}") if given[0].device_type == "cpu" else given[:count]


def _resume_command(args: argparse.Namespace, prefix: str, workers: Workers) -> str:
    """Return the command that goes on with a run, on the same devices."""
    parts = ["python", "train.py", "--prefix", prefix, "--resume"]
    if workers.count > 1:
        parts[:0] = ["python", "tools/launch.py", "--workers", str(workers.count), "--"]
    if args.gpus is not None:
        parts += ["--gpus", args.gpus]
    if args.cpu:
        parts.append("--cpu")
    if (args.kv_store or "").startswith("dist"):
        parts += ["--kv-store", args.kv_store]
    return " ".join(shlex.quote(part) for part in parts)


def _make_run(
    plan: Plan, prefix: str, contexts: list, args: argparse.Namespace, typed: str, workers: Workers
) -> Run:
    """Build iterator, devices and validation from a plan; only then the prefix is written to."""
    settings, card, position = plan.settings, plan.card, plan.position
    progress = _progress(plan, prefix)
    batches = make_batches(plan, prefix, workers)
    schedule = settings.schedule(batches.batches_per_epoch)
    network = make_network(plan, contexts, batches.batches_per_epoch, workers)
    devices = network.devices
    validation = None
    if plan.val is not None:
        rule = (settings.metric, settings.overlap, settings.use_difficult)
        validation = Validation(
            plan.val, plan.symbol, card, contexts[0], *rule, settings.loss, settings.batch_size
        )
    watched = watching(args, card)
    checkpoints = plan.checkpoints or Checkpoints(prefix, card, settings.checkpoint_period)
    checkpoints.card = dataclasses.replace(
        card,
        training={**card.training, **training_entry(settings, plan.train, card.training["results"], watched)},
    )
    logs = LogFolder.of_run(prefix, card.training["results"], position, batches.batches_per_epoch)
    observers = _make_observers(plan, checkpoints.card, devices, logs, watched, typed)
    checkpoints.begin(plan.symbol)
    _trim(logs, continued=watched.tensorboard)
    results = ResultsFile.open(Path(prefix).parent / card.training["results"], position.epoch)
    _describe(plan, batches, contexts, network.frozen, workers)
    _describe_rate(plan, progress)
    bar = _make_bar(watched.batches(batches.batches_per_epoch))
    observers.append(RunPictures(results.path, card))
    return Run(
        settings,
        schedule,
        batches,
        network.feed,
        devices,
        checkpoints,
        results,
        validation,
        bar,
        observers,
        progress,
        workers,
    )


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


def _describe(
    plan: Plan, batches: TrainingIterator, contexts: list, frozen: list[str], workers: Workers
) -> None:
    """Say what will be trained on what."""
    card, settings = plan.card, plan.settings
    height, width = card.data_shape
    runtime.tell_runtime(contexts, runtime.THREADED)
    log.info(
        f"{card.network or 'detector'} {height}x{width}, {card.num_classes} classes, {len(plan.train)} images,"
        f" {batches.batches_per_epoch} batches of {settings.batch_size} an epoch, on"
        f" {', '.join(str(ctx) for ctx in contexts)} with {runtime.num_threads} threads,"
        f" {settings.workers} decoding"
        + (f", by each of {workers.count} workers" if workers.count > 1 else "")
        + (f"; {len(frozen)} parameters frozen" if frozen else "")
        + described_rates(settings)
    )


def _describe_rate(plan: Plan, progress: Progress) -> None:
    """Say what the learning rate was scaled by, and what plateau schedule and early stopping go by."""
    settings = plan.settings
    if settings.lr_scale_by_batch:
        log.info(
            f"learning rate {settings.lr:g} x batch {settings.batch_size} / {REFERENCE_BATCH}"
            f" = {settings.base_rate:g} (--lr-scale-by-batch)"
        )
    if settings.lr_schedule == "plateau" or settings.early_stopping:
        watched = "validation's mAP" if plan.val is not None else "training loss: there is no --val-path"
        cuts = f"; the learning rate was cut {progress.cuts} times so far" if progress.cuts else ""
        log.info(f"plateau schedule and early stopping go by the {watched}{cuts}")


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
