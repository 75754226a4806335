"""The workers beside the first: they train their part of every batch and keep nothing.

What they say goes to the console alone; checkpoints, logs, pictures and validation are worker 0's.
"""

from __future__ import annotations

import argparse
import logging

from common import mx as runtime
from train.assemble import make_batches, make_network
from train.distributed import receive_plan
from train.log import console_only, detach
from train.loop import Interrupted, Run
from train.progress import Progress
from train.workers import Workers

log = logging.getLogger(__name__)


class Elsewhere:
    """Stands where the leader has its checkpoints."""

    def last_good(self) -> str:
        """Return where the last checkpoint is, for messages."""
        return "worker 0 has the last good checkpoint"

    def save_interrupted(self, *_) -> None:
        """Leave the saving to the leader."""


def follow(args: argparse.Namespace, workers: Workers, prefix: str) -> int:
    """Train with a leader until it ends.

    Args:
        args: flags, of which --train-path, --gpus and --cpu count here.
        workers: of the run.
        prefix: of the run; the worker's shuffled copies lie in its folder.

    Returns:
        0, or 130 where the run was stopped.
    """
    handlers = console_only()
    try:
        return _follow(args, workers, prefix)
    finally:
        detach(handlers)


def _follow(args: argparse.Namespace, workers: Workers, prefix: str) -> int:
    contexts = runtime.contexts(args.gpus, cpu=args.cpu)
    plan = receive_plan(workers, args, contexts)
    batches = make_batches(plan, prefix, workers)
    count = batches.batches_per_epoch
    network = make_network(plan, contexts, count, workers)
    entry = plan.card.epochs.get(plan.position.epoch, {})
    run = Run(
        plan.settings,
        plan.settings.schedule(count),
        batches,
        network.feed,
        network.devices,
        Elsewhere(),
        None,
        None,
        lambda source, *_: source,
        (),
        Progress.of_epoch(entry, "worker 0"),
        workers,
    )
    log.info(
        f"worker {workers.number} of {workers.count}: {len(plan.train)} images, {count} batches of"
        f" {plan.settings.batch_size // workers.count} an epoch, on {', '.join(map(str, contexts))} with"
        f" {runtime.num_threads} threads"
    )
    try:
        run.train(plan.position)
    except Interrupted as stopped:
        log.info(f"worker {workers.number} stopped with the others: {stopped}")
        return 130
    finally:
        batches.close()
    log.info(f"worker {workers.number}: done")
    return 0
