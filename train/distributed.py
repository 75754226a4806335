"""--kv-store dist_sync: this process's place among the others, and the leader's plan told to all of them.

Scheduler, servers and workers run the same command; DMLC_ROLE says which one a process is. MXNet turns a scheduler or
server into what it is while it is imported, so only workers come here. Worker 0 makes the plan from its flags and files
and sends settings, card, graph, parameters and optimiser states; the others need the records alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from common import mx as runtime
from common.errors import ConfigError, RecordError
from common.mx import mx
from dataset.records import RecordDataset
from model.card import Card
from train.checkpoint import Position
from train.plan import Plan
from train.settings import TrainSettings
from train.watchdog import Watchdog
from train.workers import Workers

log = logging.getLogger(__name__)

KINDS = ("local", "device", "dist_sync", "dist_device_sync")
TIMEOUT = 1800.0  # seconds
_GUIDE = "start the run by tools/launch.py, or as docs/several-machines.md says"
_PATIENCE = 10.0  # seconds of silence before the user is told what is waited for


def add_kv_store_flags(group) -> None:
    """Add --kv-store and --kv-timeout to a group of a parser."""
    group.add_argument(
        "--kv-store",
        choices=KINDS,
        help="where gradients are summed: local (CPU) or device (GPUs) in one process, dist_sync over several"
        " machines, see docs/several-machines.md (default: what suits the devices)",
    )
    group.add_argument(
        "--kv-timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"with dist_sync: give up after so long without a word of the others (default {TIMEOUT:g}); a validation"
        " must not take longer",
    )


def _whole(environment: Mapping[str, str], name: str, least: int) -> int:
    """Return a whole number of the environment.

    Raises:
        ConfigError: it is missing or something else.
    """
    text = environment.get(name, "")
    if not text.isdecimal() or int(text) < least:
        found = f"is {text!r}" if text else "is not set"
        raise ConfigError(
            f"--kv-store dist_sync: {name} {found}, expected a whole number of {least} or more: {_GUIDE}"
        )
    return int(text)


def check_environment(environment: Mapping[str, str]) -> int | None:
    """Check what MXNet's parameter server wants to be told; it aborts the process where something is missing.

    Args:
        environment: of the process.

    Returns:
        The worker's number; None where nobody says.

    Raises:
        ConfigError: names the variable.
    """
    role = environment.get("DMLC_ROLE", "")
    if role != "worker":
        raise ConfigError(
            f"--kv-store dist_sync: DMLC_ROLE is {role or 'not set'}, expected worker: {_GUIDE}"
        )
    if not environment.get("DMLC_PS_ROOT_URI"):
        raise ConfigError(
            f"--kv-store dist_sync: DMLC_PS_ROOT_URI is not set, expected the scheduler's address: {_GUIDE}"
        )
    if _whole(environment, "DMLC_PS_ROOT_PORT", 1) > 65535:
        raise ConfigError(
            f"--kv-store dist_sync: DMLC_PS_ROOT_PORT is {environment['DMLC_PS_ROOT_PORT']}, expected at most 65535"
        )
    workers = _whole(environment, "DMLC_NUM_WORKER", 1)
    _whole(environment, "DMLC_NUM_SERVER", 1)
    if not environment.get("DMLC_TASK_ID"):
        return None
    number = _whole(environment, "DMLC_TASK_ID", 0)
    if number >= workers:
        raise ConfigError(
            f"--kv-store dist_sync: DMLC_TASK_ID is {number}, expected 0 to {workers - 1} (DMLC_NUM_WORKER {workers})"
        )
    return number


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[Workers]:
    """Give the workers of the run that the flags ask for while the block runs; what ends it badly is told to them.

    Raises:
        ConfigError: the process has no place among the others, or was given one and does not take it.
    """
    if not (args.kv_store or "").startswith("dist"):
        if os.environ.get("DMLC_ROLE") == "worker":
            raise ConfigError(
                "DMLC_ROLE is worker, so the process is one of several, and --kv-store dist_sync is missing: give it,"
                " or unset DMLC_ROLE"
            )
        yield Workers(local=args.kv_store)
        return
    if not args.kv_timeout > 0:
        raise ConfigError(f"--kv-timeout {args.kv_timeout:g}: expected above 0 seconds")
    workers = _join(args)
    try:
        yield workers
    except BaseException as error:
        workers.fail(error)
        raise
    finally:
        workers.close()


def _join(args: argparse.Namespace) -> Workers:
    """Wait for scheduler, servers and the other workers."""
    number = check_environment(os.environ)
    where = f"{os.environ['DMLC_PS_ROOT_URI']}:{os.environ['DMLC_PS_ROOT_PORT']}"
    needed = f"{os.environ['DMLC_NUM_SERVER']} servers and {os.environ['DMLC_NUM_WORKER']} workers"
    on_gpus = runtime.contexts(args.gpus, cpu=args.cpu)[0].device_type == "gpu"
    notice = threading.Timer(_PATIENCE, _tell_waiting, (f"waiting for the scheduler at {where}, {needed}",))
    notice.daemon = True
    notice.start()
    watchdog = Watchdog(args.kv_timeout)
    lost = (
        f"--kv-store dist_sync: {needed} did not meet at the scheduler {where} within {args.kv_timeout:g} seconds"
        " (--kv-timeout): start all of them, and look at address, port and firewall"
    )
    try:
        with watchdog.waiting(lost):
            store = mx.kv.create("dist_device_sync" if on_gpus else "dist_sync")
    finally:
        notice.cancel()
        watchdog.close()
    return Workers(store, number, seconds=args.kv_timeout)


def _tell_waiting(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check_batch(batch_size: int, workers: Workers, contexts: list) -> None:
    """Refuse a batch that cannot be split over all devices of all workers.

    Raises:
        ConfigError: says what would fit.
    """
    parts = workers.count * len(contexts)
    if batch_size % parts:
        raise ConfigError(
            f"--batch-size {batch_size}: cannot be split over {workers.count} workers with {len(contexts)} devices"
            f" each: give a multiple of {parts}"
        )


def send_plan(workers: Workers, plan: Plan, contexts: list) -> None:
    """Tell the other workers what the leader will train; nothing where the process is alone.

    Raises:
        ConfigError: the batch cannot be split, or a worker has another number of devices.
        RecordError: a worker has other records.
    """
    if workers.store is None:
        return
    check_batch(plan.settings.batch_size, workers, contexts)
    position = plan.position
    workers.share(
        "plan",
        {
            "settings": plan.settings.to_dict(),
            "card": plan.card.to_dict(),
            "symbol": plan.symbol.tojson(),
            "epoch": position.epoch,
            "batch": position.batch,
            "sums": position.sums,
            "shapes": {kind: _shapes(arrays) for kind, arrays in _arrays(position).items()},
        },
    )
    check_same(workers, plan.train, contexts)
    for kind, arrays in _arrays(position).items():
        workers.share_arrays(arrays, kind)


def receive_plan(workers: Workers, args: argparse.Namespace, contexts: list) -> Plan:
    """Return the leader's plan, on another worker.

    Args:
        workers: of the run.
        args: the worker's own flags, of which --train-path counts.
        contexts: its devices.

    Raises:
        ConfigError: it has another number of devices.
        RecordError: its records are missing, damaged or others.
    """
    told = workers.share("plan")
    settings = TrainSettings.from_dict(told["settings"], "worker 0")
    path = args.train_path or settings.train_path
    if not Path(path).exists():
        raise RecordError(
            f"{path}: the run's records are not there on worker {workers.number}, seen from {Path.cwd()}: copy them"
            " to it, or give their place by its own --train-path"
        )
    train = RecordDataset(path)
    train.check_hash()
    check_same(workers, train, contexts)
    card = Card.from_dict(told["card"], "worker 0")
    shapes = told["shapes"]
    arrays = {
        kind: workers.share_arrays(
            {name: mx.nd.zeros(tuple(shape)) for name, shape in shapes[kind].items()}, kind
        )
        for kind in shapes
    }
    position = Position(
        told["epoch"], told["batch"], arrays["arg"], arrays["aux"], arrays.get("state"), told["sums"]
    )
    settings = dataclasses.replace(settings, train_path=str(path), val_path="")
    return Plan(settings, card, mx.sym.load_json(told["symbol"]), position, train, None)


def _arrays(position: Position) -> dict[str, dict]:
    """Return a position's arrays by kind; without states at the start of a run."""
    kinds = {"arg": position.arg_params, "aux": position.aux_params, "state": position.states}
    return {kind: arrays for kind, arrays in kinds.items() if arrays is not None}


def _shapes(arrays: dict) -> dict[str, tuple]:
    return {name: array.shape for name, array in arrays.items()}


def check_same(workers: Workers, train: RecordDataset, contexts: list) -> None:
    """Hold records and devices of all workers to the leader's; all of them find the same.

    Raises:
        RecordError: names a worker with other records.
        ConfigError: names a worker with another number of devices.
    """
    told = workers.gather("records and devices", f"{len(contexts)} {train.sha256()}".encode())
    (devices, digest), *others = (message.decode().split() for message in told)
    for worker, (count, found) in enumerate(others, start=1):
        if found != digest:
            raise RecordError(
                f"--train-path: worker {worker} has other records than worker 0 (sha256 {found[:12]}... and"
                f" {digest[:12]}...): copy worker 0's to that machine"
            )
        if count != devices:
            raise ConfigError(
                f"--gpus: worker {worker} computes on {count} devices and worker 0 on {devices}: give all workers the"
                " same number"
            )
