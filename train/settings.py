"""What a run is: the settings that decide its result; the card keeps them, so `--resume` needs the prefix alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from common.errors import CheckpointError, ConfigError
from dataset.augmentation import Augmentation
from symbol.loss import LossConfig
from train.schedule import Schedule

# At Caffe's loss scale (sums over the positives), of networks that begin with weights; others' stand in their preset.
# mxnet-ssd's rates belong to a loss about four times smaller: its 0.004 is our 0.001.
DEFAULT_RATE = 0.001
_MOST_FREQUENT = 20  # batches, as mxnet-ssd
MOST_WORKERS = 256  # decoding iterators; more are a slip of the finger
RATE_SCALES = {"sgd": 1.0, "adam": 0.1, "rmsprop": 0.1}


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a run that its result depends on.

    Attributes:
        train_path: packed records to train on.
        val_path: packed records to validate on; "" for none.
        batch_size: images in a batch over all devices; the gradient's noise, and BatchNorm, depend on it.
        optimizer: sgd, adam or rmsprop.
        lr: base learning rate.
        momentum: of SGD.
        wd: weight decay.
        clip_gradient: bound of each gradient element; young networks meet batches of rare, large losses.
        lr_schedule: multi-step, cosine or constant.
        lr_steps: epochs of the multi-step schedule.
        lr_factor: of the multi-step schedule.
        warmup_epochs: over which the rate rises; may be a fraction.
        end_epoch: epochs of the whole run.
        val_period: epochs between validations; the last epoch is always validated.
        checkpoint_period: epochs between checkpoints that are kept; 0 keeps last and best alone.
        metric: voc or voc07.
        overlap: IoU that validation asks for.
        use_difficult: count difficult objects in validation.
        seed: of initial parameters, record order and everything else that is random.
        workers: decoding iterators; part of the result, because each draws the augmentation of its own share.
        freeze: regular expression, matched from the beginning of a parameter's name; "" freezes nothing.
        pretrained: prefix that the first parameters came from.
        contexts: number of devices; BatchNorm's statistics are those of each device's part.
        loss: matching and mining.
        augmentation: of the training images.
    """

    train_path: str
    val_path: str = ""
    batch_size: int = 32
    optimizer: str = "sgd"
    lr: float = DEFAULT_RATE
    momentum: float = 0.9
    wd: float = 0.0005
    clip_gradient: float = 5.0
    lr_schedule: str = "multi-step"
    lr_steps: tuple[float, ...] = (80.0, 160.0)
    lr_factor: float = 0.1
    warmup_epochs: float = 0.0
    end_epoch: int = 240
    val_period: int = 1
    checkpoint_period: int = 0
    metric: str = "voc"
    overlap: float = 0.5
    use_difficult: bool = False
    seed: int = 0
    workers: int = 1
    freeze: str = ""
    pretrained: str = ""
    contexts: int = 1
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self):
        """Refuse settings that cannot be."""
        for name, least in (("batch_size", 1), ("end_epoch", 1), ("val_period", 1), ("checkpoint_period", 0)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise ConfigError(
                    f"--{flag} {getattr(self, name)}: expected a whole number of at least {least}"
                )
        for name in ("momentum", "wd", "clip_gradient", "warmup_epochs"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 0 or more")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"--seed {self.seed}: expected a whole number from 0 to {2**31 - 1}")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"--workers {self.workers}: expected a whole number from 1 to {MOST_WORKERS}")
        if self.momentum >= 1:
            raise ConfigError(f"--momentum {self.momentum}: expected below 1")
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"--overlap {self.overlap}: expected above 0, at most 1")

    def schedule(self, batches_per_epoch: int) -> Schedule:
        """Return the learning rate's course for epochs of that many batches."""
        return Schedule(
            kind=self.lr_schedule,
            base=self.lr,
            total_steps=self.end_epoch * batches_per_epoch,
            milestones=tuple(round(epoch * batches_per_epoch) for epoch in self.lr_steps),
            factor=self.lr_factor,
            warmup_steps=round(self.warmup_epochs * batches_per_epoch),
        )

    def to_dict(self) -> dict:
        """Return the settings as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "loss": self.loss.to_dict(), "augmentation": self.augmentation.to_dict()}

    @classmethod
    def from_dict(cls, values: dict, path: str) -> TrainSettings:
        """Make settings from JSON values.

        Args:
            values: as `to_dict` gives them.
            path: of the card they come from, for the message.

        Raises:
            CheckpointError: a field is missing or of the wrong kind.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        try:
            known = {name: value for name, value in values.items() if name in names}
            known["lr_steps"] = tuple(values["lr_steps"])
            known["loss"] = LossConfig.from_dict(values["loss"])
            known["augmentation"] = Augmentation.from_dict(values["augmentation"])
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: its training settings are damaged: {error}") from error


@dataclass(frozen=True)
class Watching:
    """How a run is watched: nothing of its result depends on it; the card keeps it, so that a resumed run goes on so.

    Attributes:
        tensorboard: write TensorBoard's logs.
        monitor: batches between looks at weights, gradients and activations; 0 or less for none.
        pattern: regular expression for what is looked at, matched from the beginning of the name.
        frequent: batches of a point of the curves and of an update of the bar; 0 takes a fifth of an epoch, 20 at most.
    """

    tensorboard: bool = False
    monitor: int = 0
    pattern: str = ".*"
    frequent: int = 0

    def batches(self, batches_per_epoch: int) -> int:
        """Return the batches of a point of the curves."""
        return self.frequent if self.frequent > 0 else max(1, min(_MOST_FREQUENT, batches_per_epoch // 5))
