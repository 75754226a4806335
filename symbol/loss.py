"""The training graph: matching, encoding, hard negative mining and the multibox loss.

`MultiBoxTarget` matches and encodes, nothing else: its own mining ignores `minimum_negative_samples` on the CPU, leaves
images without objects out, and can abort. Hard negatives are mined here, in the graph, by sorting the background
anchors by their loss, so that CPU and GPU agree and an image without objects contributes negatives.

The loss is Caffe's, the paper's (section 2.2): softmax cross-entropy over positives and mined negatives plus smooth L1
over positives, both divided by the number of positives. The division is not in this graph: the training loop divides
the gradients by the positives of the whole batch, so that several devices together give what one gives.

Learning rates: mxnet-ssd divides the cross-entropy by positives + negatives (4 times the positives at ratio 3) and the
smooth L1 by its elements that are not zero (about 4 times the positives), so its gradients are about a quarter of
these: its rate 0.004 is 0.001 here, as in the paper. In general take a quarter of mxnet-ssd's rate.

Beyond mxnet-ssd, all off by default (a graph without them has not a node more): bipartite matching and a band of
neutral anchors, as in ssd_keras and SSD.TensorFlow; smoothed labels (Szegedy et al. 2016, section 7).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from common.errors import ConfigError, did_you_mean
from common.mx import mx
from common.settings import from_known
from symbol.names import LocalNames

MINING_SCOPES = ("image", "batch")
MATCHINGS = ("multi", "bipartite")
TARGETS = ("loc_target", "loc_mask", "cls_target")  # what MultiBoxTarget gives, in its order
_ABOVE_EVERY_OVERLAP = 2.0
# Settings that came later: a card says them where they are not the default, so older cards stay as they are.
_LATER = ("matching", "neutral_iou", "label_smoothing")


@dataclass(frozen=True)
class LossConfig:
    """Settings of matching, mining and loss.

    Attributes:
        overlap_threshold: an anchor whose IoU with an object is above this is positive, besides each object's best;
            above 1 only each object's best is.
        negative_ratio: hard negatives for each positive.
        minimum_negatives: hard negatives of an image at least, for images without objects too.
        mining: "image" takes each image's own hardest negatives, "batch" those of the whole batch (of one device).
        loc_weight: weight of the smooth L1 loss against the cross-entropy (the paper's alpha).
        matching: "multi", or "bipartite", where each object has its best anchor alone whatever the overlap threshold.
        neutral_iou: an anchor that is not positive and whose best IoU is this or more is neither positive nor a
            candidate for the negatives; at most the overlap threshold, where equal there is no such band. 0 is off.
        label_smoothing: this share of a target is spread over all classes, background included; the mining goes by
            the plain loss. 0 is off.

    Raises:
        ConfigError: a value is out of range.
    """

    overlap_threshold: float = 0.5
    negative_ratio: float = 3.0
    minimum_negatives: int = 3
    mining: str = "image"
    loc_weight: float = 1.0
    matching: str = "multi"
    neutral_iou: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self):
        for name, known in (("mining", MINING_SCOPES), ("matching", MATCHINGS)):
            value = getattr(self, name)
            if value not in known:
                near = did_you_mean(value, known) or f": expected {' or '.join(known)}"
                raise ConfigError(f"{name} {value!r} is unknown{near}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in ("mining", "matching"):
                continue
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{name} is {value!r}, expected a number of 0 or more")
        if self.overlap_threshold == 0:
            raise ConfigError(
                "overlap_threshold is 0, expected a number above 0: every anchor would be positive"
            )
        if self.minimum_negatives != int(self.minimum_negatives):
            raise ConfigError(f"minimum_negatives is {self.minimum_negatives}, expected a whole number")
        if self.label_smoothing >= 1:
            raise ConfigError(
                f"label_smoothing is {self.label_smoothing}, expected from 0 (off) to below 1: 0.1 is usual"
            )
        most = min(1.0, self.match_threshold)
        if self.neutral_iou > most:
            raise ConfigError(
                f"neutral_iou is {self.neutral_iou}, expected {most:g} at most (the overlap threshold, or 1 where each"
                " object has one anchor); 0 is off"
            )

    @property
    def match_threshold(self) -> float:
        """The IoU above which an anchor joins its best object; above 1 none does."""
        return _ABOVE_EVERY_OVERLAP if self.matching == "bipartite" else self.overlap_threshold

    @property
    def neutral_from(self) -> float:
        """The least IoU of an ignored anchor; 0 where none is ignored."""
        return self.neutral_iou if self.neutral_iou < self.match_threshold else 0.0

    def to_dict(self) -> dict:
        """Return the settings as JSON values; the later ones only where they are not the default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        return {n: v for n, v in values.items() if n not in _LATER or v != defaults[n]}

    @classmethod
    def from_dict(cls, values: dict) -> LossConfig:
        """Make the settings from JSON values, as `to_dict` gives them.

        Raises:
            ConfigError: an unknown or impossible setting.
        """
        return from_known(cls, values, "loss")


def training_symbol(heads, num_classes: int, variances: tuple, loss: LossConfig):
    """Put matching, mining and losses on a network's heads.

    The graph's inputs are `data` (B, 3, H, W) and `label` (B, N, 5 or more) with rows (class id, xmin, ymin, xmax,
    ymax, ...), normalised; rows of -1 fill up the end; a row of zero area is ignored. A class id of `num_classes` or
    more makes the loss infinite, since an operator would quietly train another class.

    Args:
        heads: group of loc_pred (B, 4A), cls_pred (B, C+1, A), anchors (1, A, 4).
        num_classes: foreground classes, C.
        variances: four, of the box encoding.
        loss: the settings.

    Returns:
        A group with the outputs, each (B,), in this order: cls_loss_output, the cross-entropy summed over an image's
        positives and mined negatives; loc_loss_output, the weighted smooth L1 summed over its positives;
        num_positive_output; num_negative_output. The gradients are those of the plain sums.
    """
    loc_pred, cls_pred, anchors = heads
    with LocalNames("loss_"):
        targets = _match(cls_pred, anchors, variances, loss)
        return _losses(loc_pred, cls_pred, targets, num_classes, loss)


def matched_training_symbol(heads, num_classes: int, loss: LossConfig):
    """Put mining and losses on a network's heads, for labels that symbol/matcher.py has matched already.

    The same graph as `training_symbol`'s from the targets on. On the CPU, MultiBoxTarget takes longer than a small
    network; there the training loop runs this one, and saves the other.

    Args:
        heads: group of loc_pred (B, 4A), cls_pred (B, C+1, A), anchors (1, A, 4).
        num_classes: foreground classes, C.
        loss: the settings; thresholds of the overlap are the matcher's.

    Returns:
        The outputs of `training_symbol`; inputs `data`, `loc_target` (B, 4A), `loc_mask` (B, 4A), `cls_target` (B, A),
        -1 in the last for an anchor to ignore.
    """
    loc_pred, cls_pred, _ = heads
    with LocalNames("loss_"):
        targets = tuple(mx.sym.Variable(name) for name in TARGETS)
        return _losses(loc_pred, cls_pred, targets, num_classes, loss)


def _losses(loc_pred, cls_pred, targets: tuple, num_classes: int, loss: LossConfig):
    loc_target, loc_mask, cls_target = targets
    log_prob = _log_prob(cls_pred)  # (B, A, C+1)
    is_positive = cls_target > 0  # (B, A)
    # The comparison only where anchors can be ignored: without a band the graph stays what it was.
    is_excluded = cls_target != 0 if loss.neutral_from else is_positive  # (B, A)
    is_negative = _mine(log_prob, is_positive, is_excluded, loss)  # (B, A)
    cross_entropy = _cross_entropy(log_prob, cls_target, num_classes, loss.label_smoothing)  # (B, A)
    cls_loss = mx.sym.sum(cross_entropy * (is_positive + is_negative), axis=1)  # (B,)
    distance = mx.sym.smooth_l1((loc_pred - loc_target) * loc_mask, scalar=1.0)  # (B, 4A)
    loc_loss = mx.sym.sum(distance, axis=1) * loss.loc_weight  # (B,)
    return mx.sym.Group(
        [
            mx.sym.MakeLoss(cls_loss, name="cls_loss"),
            mx.sym.MakeLoss(loc_loss, name="loc_loss"),
            mx.sym.BlockGrad(mx.sym.sum(is_positive, axis=1), name="num_positive"),
            mx.sym.BlockGrad(mx.sym.sum(is_negative, axis=1), name="num_negative"),
        ]
    )


def _match(cls_pred, anchors, variances: tuple, loss: LossConfig) -> tuple:
    """Match anchors with objects and encode the boxes.

    Returns:
        The encoded boxes (B, 4A), 1 where they count (B, 4A), and each anchor's class (B, A), 0 for background, -1 for
        those to ignore.
    """
    label = mx.sym.Variable("label")
    loc_target, loc_mask, cls_target = mx.sym.contrib.MultiBoxTarget(
        # Else MultiBoxPrior adds a gradient of zeros to every feature map.
        mx.sym.BlockGrad(anchors),
        label,
        mx.sym.BlockGrad(cls_pred),
        overlap_threshold=loss.match_threshold,
        negative_mining_ratio=-1,
        variances=variances,
        name="multibox_target",
    )
    # An image without objects comes as all -1, "ignore"; it is background.
    cls_target = mx.sym.maximum(cls_target, 0)
    if loss.neutral_from:
        is_neutral = _overlap(anchors, label) >= loss.neutral_from  # (B, A)
        cls_target = cls_target - is_neutral * (cls_target == 0)
    return loc_target, loc_mask, cls_target


def _overlap(anchors, label):
    """Return each anchor's greatest IoU with an object, constant for the gradient; void rows overlap nothing.

    It takes 4 BNA bytes of memory: 56 MB for 32 images, 50 rows of label and 8732 anchors.

    Args:
        anchors: (1, A, 4).
        label: (B, N, 5 or more).

    Returns:
        (B, A).
    """
    boxes = mx.sym.slice_axis(mx.sym.BlockGrad(label), axis=2, begin=1, end=5)  # (B, N, 4)
    priors = mx.sym.reshape(mx.sym.BlockGrad(anchors), shape=(-3, -2))  # (1, A, 4) -> (A, 4)
    return mx.sym.max(mx.sym.contrib.box_iou(boxes, priors), axis=1)  # (B, N, A) -> (B, A)


def _log_prob(cls_pred):
    """Return log softmax over the classes: (B, C+1, A) -> (B, A, C+1); on the CPU the last axis is the quick one."""
    return mx.sym.log_softmax(mx.sym.transpose(cls_pred, axes=(0, 2, 1)), axis=2)


def _cross_entropy(log_prob, cls_target, num_classes: int, smoothing: float):
    """Return every anchor's cross-entropy (B, A); infinite where the class does not exist."""
    missing_class = mx.sym.BlockGrad(mx.sym.log(cls_target <= num_classes))  # 0, or -inf
    plain = -mx.sym.pick(log_prob, cls_target, axis=2) - missing_class
    if not smoothing:
        return plain
    return plain * (1 - smoothing) - mx.sym.mean(log_prob, axis=2) * smoothing


def _mine(log_prob, is_positive, is_excluded, loss: LossConfig):
    """Pick the hard negatives: those background anchors whose background loss is the largest.

    Args:
        log_prob: (B, A, C+1).
        is_positive: (B, A) of 0 and 1.
        is_excluded: (B, A) of 0 and 1, of positives and of anchors to ignore.
        loss: the settings.

    Returns:
        (B, A) of 0 and 1, constant for the gradient.
    """
    # Blocked here and not after the sort: the gradient would be zeros to add, which oneDNN's sum fails on.
    background_loss = -mx.sym.BlockGrad(mx.sym.slice_axis(log_prob, axis=2, begin=0, end=1))
    background_loss = mx.sym.reshape(background_loss, shape=(0, -1))  # (B, A, 1) -> (B, A)
    # The losses are 0 or more, so what is excluded comes after every background anchor.
    score = mx.sym.where(is_excluded, -mx.sym.ones_like(is_excluded), background_loss)
    positives = mx.sym.sum(is_positive, axis=1, keepdims=True)  # (B, 1)
    candidates = mx.sym.sum(is_excluded == 0, axis=1, keepdims=True)
    minimum = mx.sym.ones_like(positives) * loss.minimum_negatives
    if loss.mining == "batch":
        score = mx.sym.reshape(score, shape=(1, -1))  # (B, A) -> (1, B*A)
        positives, candidates, minimum = (
            mx.sym.sum(count, axis=0, keepdims=True) for count in (positives, candidates, minimum)
        )
    wanted = mx.sym.minimum(
        mx.sym.maximum(mx.sym.floor(positives * loss.negative_ratio), minimum), candidates
    )
    is_negative = mx.sym.broadcast_lesser(_rank(score), wanted)
    return mx.sym.reshape_like(is_negative, is_positive)


def _rank(score):
    """Return each entry's place in its row, 0 for the largest; equal scores get different places: counts are exact."""
    order = mx.sym.argsort(score, axis=1, is_ascend=False, dtype="int32")
    return mx.sym.argsort(order, axis=1, dtype="float32")
