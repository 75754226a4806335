"""What a run is: the settings that decide its result; the card keeps them, so `--resume` needs the prefix alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from common.errors import CheckpointError, ConfigError
from dataset.augmentation import Augmentation
from symbol.loss import LossConfig
from train.schedule import REFERENCE_BATCH, Schedule

# At Caffe's loss scale (sums over the positives), of networks that begin with weights; others' stand in their preset.
# mxnet-ssd's rates belong to a loss about four times smaller: its 0.004 is our 0.001.
DEFAULT_RATE = 0.001
_MOST_FREQUENT = 20  # batches, as mxnet-ssd
MOST_WORKERS = 256  # decoding iterators; more are a slip of the finger
_LEAST = {
    "batch_size": 1, "end_epoch": 1, "val_period": 1, "checkpoint_period": 0, "plateau_patience": 1,
    "early_stopping": 0, "min_epochs": 0,
}  # fmt: skip
RATE_SCALES = {"sgd": 1.0, "adam": 0.1, "rmsprop": 0.1}
# MXNet's adadelta does not scale the decay by a rate: the usual one would halve the weights in 1400 updates.
DECAYS = {"adadelta": 0.0}


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a run that its result depends on.

    Attributes:
        train_path: packed records to train on.
        val_path: packed records to validate on; "" for none.
        batch_size: images in a batch over all devices; the gradient's noise, and BatchNorm, depend on it.
        optimizer: sgd, nag (SGD with Nesterov's momentum), adam, rmsprop or adadelta.
        lr: base learning rate.
        lr_scale_by_batch: take `lr` for a batch of 32 images and scale it to this one's.
        momentum: of SGD.
        wd: weight decay.
        clip_gradient: bound of each gradient element; young networks meet batches of rare, large losses.
        lr_schedule: multi-step, cosine, constant or plateau.
        lr_steps: epochs of the multi-step schedule.
        lr_factor: of the multi-step and the plateau schedule.
        plateau_patience: validations (epochs, without validation records) without improvement that cut the rate.
        min_lr: below which the plateau schedule does not cut.
        warmup_epochs: over which the rate rises; may be a fraction.
        end_epoch: epochs of the whole run.
        early_stopping: validations (epochs, without validation records) without improvement that end the run; 0 is off.
        min_epochs: trained before the run may end early.
        min_delta: what the watched figure must gain by to be an improvement (train/progress.py).
        val_period: epochs between validations; the last epoch is always validated.
        checkpoint_period: epochs between checkpoints that are kept; 0 keeps last and best alone.
        metric: voc or voc07.
        overlap: IoU that validation asks for.
        use_difficult: count difficult objects in validation.
        seed: of initial parameters, record order and everything else that is random.
        workers: decoding iterators; part of the result, because each draws the augmentation of its own share.
        freeze: regular expression, matched from the beginning of a parameter's name; "" freezes nothing.
        freeze_base: leave the backbone as it is.
        freeze_all_but_heads: leave backbone and extra blocks as they are.
        base_lr: learning rate of the backbone, where `lr` is that of the rest; None for `lr`, 0 freezes.
        extra_lr: of the extra blocks.
        head_lr: of the heads.
        pretrained: prefix that the first parameters came from, or "imagenet".
        finetune: PREFIX:EPOCH of the detector that the run started from.
        amp: convolutions compute in half precision.
        contexts: number of devices; BatchNorm's statistics are those of each device's part.
        loss: matching and mining.
        augmentation: of the training images.
    """

    train_path: str
    val_path: str = ""
    batch_size: int = 32
    optimizer: str = "sgd"
    lr: float = DEFAULT_RATE
    lr_scale_by_batch: bool = False
    momentum: float = 0.9
    wd: float = 0.0005
    clip_gradient: float = 5.0
    lr_schedule: str = "multi-step"
    lr_steps: tuple[float, ...] = (80.0, 160.0)
    lr_factor: float = 0.1
    plateau_patience: int = 8
    min_lr: float = 0.0
    warmup_epochs: float = 0.0
    end_epoch: int = 240
    early_stopping: int = 0
    min_epochs: int = 0
    min_delta: float = 0.0
    val_period: int = 1
    checkpoint_period: int = 0
    metric: str = "voc"
    overlap: float = 0.5
    use_difficult: bool = False
    seed: int = 0
    workers: int = 1
    freeze: str = ""
    freeze_base: bool = False
    freeze_all_but_heads: bool = False
    base_lr: float | None = None
    extra_lr: float | None = None
    head_lr: float | None = None
    pretrained: str = ""
    finetune: str = ""
    amp: bool = False
    contexts: int = 1
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self):
        """Refuse settings that cannot be."""
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise ConfigError(
                    f"--{flag} {getattr(self, name)}: expected a whole number of at least {least}"
                )
        for name in ("momentum", "wd", "clip_gradient", "warmup_epochs", "min_delta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 0 or more")
        self._check_parts()
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"--seed {self.seed}: expected a whole number from 0 to {2**31 - 1}")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"--workers {self.workers}: expected a whole number from 1 to {MOST_WORKERS}")
        if self.momentum >= 1:
            raise ConfigError(f"--momentum {self.momentum}: expected below 1")
        if self.optimizer == "nag" and self.momentum == 0:
            raise ConfigError("--momentum 0: expected above 0, Nesterov's is a kind of momentum")
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"--overlap {self.overlap}: expected above 0, at most 1")

    def _check_parts(self) -> None:
        """Refuse rates of parts that cannot be."""
        for part in ("base", "extra", "head"):
            rate = getattr(self, f"{part}_lr")
            if rate is None:
                continue
            if not 0 <= rate < math.inf:
                raise ConfigError(f"--{part}-lr {rate}: expected 0 or more")
            flag = self.frozen_parts().get(part)
            if rate > 0 and flag:
                raise ConfigError(
                    f"--{part}-lr {rate:g}: {flag} leaves that part as it is: leave one of them out"
                )
            if rate > 0 and self.optimizer == "adadelta":
                raise ConfigError(
                    f"--{part}-lr {rate:g}: adadelta sets its own step: leave it out, or take sgd"
                )

    def frozen_parts(self) -> dict[str, str]:
        """Return {part of the network that stays as it is: the flag that says so}."""
        frozen = {"base": "--freeze-base"} if self.freeze_base else {}
        if self.freeze_all_but_heads:
            frozen = dict.fromkeys(("base", "extra"), "--freeze-all-but-heads")
        rates = {part: getattr(self, f"{part}_lr") for part in ("base", "extra", "head")}
        return {**{part: f"--{part}-lr 0" for part, rate in rates.items() if rate == 0}, **frozen}

    @property
    def base_rate(self) -> float:
        """The learning rate after warm-up, before the schedule: `lr`, scaled to the batch where that is asked for."""
        return self.lr * self.batch_size / REFERENCE_BATCH if self.lr_scale_by_batch else self.lr

    def schedule(self, batches_per_epoch: int) -> Schedule:
        """Return the learning rate's course for epochs of that many batches."""
        return Schedule(
            kind=self.lr_schedule,
            base=self.base_rate,
            total_steps=self.end_epoch * batches_per_epoch,
            milestones=tuple(round(epoch * batches_per_epoch) for epoch in self.lr_steps),
            factor=self.lr_factor,
            warmup_steps=round(self.warmup_epochs * batches_per_epoch),
            least=self.min_lr,
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
