"""What every worker of a run is made of: its part of the batches, and the network on its devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset.epochs import Part
from dataset.iterator import TrainingIterator
from train.amp import LossScaler, check_devices, mixed_symbol
from train.devices import DeviceGroup
from train.matching import choose
from train.parts import frozen_parameters, noted_layers, rate_multipliers, with_fixed_statistics
from train.plan import Plan, input_shapes
from train.workers import Workers


def make_batches(plan: Plan, prefix: str, workers: Workers) -> TrainingIterator:
    """Return the training batches, or a worker's part of each.

    Args:
        plan: of the run.
        prefix: the shuffled copies lie in its folder while the run goes.
        workers: of the run.
    """
    settings, card = plan.settings, plan.card
    own = "" if workers.leads else f"-worker{workers.number}"
    return TrainingIterator(
        plan.train,
        batch_size=settings.batch_size,
        data_shape=card.data_shape,
        mean=card.mean,
        std=card.std,
        augmentation=settings.augmentation,
        seed=settings.seed,
        workers=settings.workers,
        folder=Path(prefix).parent / f".{Path(prefix).name}.records{own}",
        part=Part(workers.number, workers.count),
    )


@dataclass(frozen=True)
class Network:
    """The network of a run.

    Attributes:
        devices: that it is on, at the plan's position.
        feed: labels -> its other inputs.
        frozen: names of the parameters that stay as they are.
    """

    devices: DeviceGroup
    feed: object
    frozen: list[str]


def make_network(plan: Plan, contexts: list, batches_per_epoch: int, workers: Workers) -> Network:
    """Return the network on a worker's devices.

    Args:
        plan: of the run.
        contexts: the devices.
        batches_per_epoch: of the whole run.
        workers: of the run.
    """
    settings, card, position = plan.settings, plan.card, plan.position
    layers = noted_layers(card.training)
    frozen = frozen_parameters(plan.symbol, settings, layers)
    whole = input_shapes(settings, card.data_shape, plan.train)
    shapes = {name: (shape[0] // workers.count, *shape[1:]) for name, shape in whole.items()}
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
    graph = with_fixed_statistics(matching.symbol, frozen)
    if settings.amp:
        check_devices(contexts)
        graph = mixed_symbol(graph)
    params = position.arg_params, position.aux_params
    devices = DeviceGroup(graph, contexts, inputs, *params, frozen, workers)
    devices.init_optimizer(
        settings.optimizer,
        position.states,
        momentum=settings.momentum,
        wd=settings.wd,
        clip=settings.clip_gradient,
        updates_done=position.epoch * batches_per_epoch + position.batch,
        multipliers=rate_multipliers(plan.symbol, settings, layers),
        scaler=LossScaler() if settings.amp else None,
    )
    devices.set_aux_by_device(position.states or {})
    return Network(devices, matching.feed, frozen)
