"""What a new run starts from: random parameters, a pretrained file, ImageNet's weights, or a detector to fine-tune.

One of them, by the flags; what it says of network, preprocessing and detection counts where no flag does.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass

from common.errors import ConfigError
from model.card import Card
from symbol.config import NetworkConfig
from symbol.detection import DetectionConfig
from train.carried import carried_params, report_lines
from train.finetune import FoundNetwork, Source, extra_layers_of, network_of, open_source
from train.network_flags import chosen_name, chosen_network, chosen_options
from train.settings import TrainSettings
from train.start import initial_params, put_over, transfer

log = logging.getLogger(__name__)

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Origin:
    """What a run starts from.

    Attributes:
        args: parsed flags.
        source: a detector to fine-tune; None without --finetune.
        imagenet: (arg_params, aux_params, mean, std) of a backbone; None without --pretrained imagenet.
    """

    args: argparse.Namespace
    source: Source | None = None
    imagenet: tuple | None = None

    @property
    def card(self) -> Card | None:
        """The card whose settings count where the flags say nothing."""
        return self.source.card if self.source else None

    @property
    def detection(self) -> DetectionConfig:
        """The detection settings where no flag says others."""
        return self.card.detection if self.card else DetectionConfig()

    @property
    def name(self) -> str:
        """PREFIX:EPOCH of the detector to fine-tune; "" for none."""
        return self.source.name if self.source else ""

    def network(self, num_classes: int) -> NetworkConfig | FoundNetwork:
        """Return the run's network."""
        if self.source:
            return network_of(self.source, self.args, num_classes)
        return chosen_network(self.args, num_classes)

    def options(self, network: NetworkConfig | FoundNetwork) -> dict:
        """Return the network's options for the card."""
        if isinstance(network, FoundNetwork):
            return dict(self.card.network_options)
        return chosen_options(self.args, self.card).to_dict()

    def pixels(self, network: NetworkConfig | FoundNetwork) -> tuple[tuple, tuple]:
        """Return the mean and std of the input's channels where no flag says others."""
        if self.imagenet:
            return self.imagenet[2:]
        return (self.card.mean, self.card.std) if self.card else (network.mean, network.std)

    def params(
        self,
        symbol,
        shapes: dict,
        network: NetworkConfig | FoundNetwork,
        *,
        class_names: tuple,
        settings: TrainSettings,
    ) -> tuple[tuple[dict, dict], dict]:
        """Return the parameters that a run begins with; what was taken is told.

        Args:
            symbol: the training graph.
            shapes: name -> shape of its inputs.
            network: that it was made of.
            class_names: foreground classes in the order of their ids.
            settings: of the run.

        Returns:
            ((arg_params, aux_params), what the card says of it beside the settings).

        Raises:
            CheckpointError: what is there does not fit.
        """
        extra_layers = extra_layers_of(network)
        about = {} if extra_layers is None else {"extra_layers": extra_layers}
        if self.source:
            params, about["finetune"] = carried_params(
                self.source,
                symbol,
                shapes,
                class_names=class_names,
                seed=settings.seed,
                extra_layers=extra_layers,
            )
            lines = report_lines(about["finetune"])
        else:
            params = initial_params(symbol, shapes, settings.seed)
            params, lines = self._pretrained(params, settings)
        for line in lines:
            log.info(line)
        return params, about

    def _pretrained(
        self, params: tuple[dict, dict], settings: TrainSettings
    ) -> tuple[tuple[dict, dict], list[str]]:
        """Return parameters with what --pretrained gives, and the lines that tell of it."""
        if not settings.pretrained:
            return params, []
        if self.imagenet:
            params, report = put_over(params, self.imagenet[:2], f"--pretrained {IMAGENET}")
        else:
            params, report = transfer(params, settings.pretrained, self.args.epoch)
        return params, report.lines(settings.pretrained)


def open_origin(args: argparse.Namespace) -> Origin:
    """Find what a new run starts from.

    Args:
        args: parsed flags.

    Raises:
        ConfigError: flags contradict each other.
        CheckpointError: what they name is not there, or cannot be read.
    """
    source = open_source(args)
    if args.epoch is not None and (source is None and args.pretrained in (None, IMAGENET)):
        raise ConfigError(
            f"--epoch {args.epoch}: is the epoch of --pretrained PREFIX or --finetune PREFIX, which is not given"
        )
    if args.pretrained != IMAGENET:
        return Origin(args, source)
    from model.gluon_weights import imagenet_params

    return Origin(args, None, imagenet_params(chosen_name(args)))
