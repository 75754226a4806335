"""A training step of PyTorch's: the ONNX file of our heads through onnx2torch, an SSD's loss, SGD.

The same as ours: the network and its first parameters, images, labels, matching (IoU above 0.5 and each object's best
default box), three hard negatives for each positive and image (at least three), cross-entropy and smooth L1 divided by
the positives, SGD with momentum and weight decay. BatchNorm uses the batch's statistics.
Not the same: constants of the ONNX file that are no layer's (the scale of the L2 normalisation) are not trained here.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from engine import peak_bytes, timed
from onnx_to_torch import convert
from torch.nn import functional

MOMENTUM, DECAY, RATE = 0.9, 0.0005, 1e-6
OVERLAP, NEGATIVES, LEAST = 0.5, 3.0, 3


class TorchTraining:
    """PyTorch's module with its optimiser and one batch."""

    def __init__(self, threads: int):
        torch.set_num_threads(threads)

    def versions(self) -> dict:
        """Return the version."""
        return {"torch": torch.__version__}

    def do_load(self, model: str, arrays: str, variances: list) -> dict:
        """Load a network, a batch and its labels, and take one step.

        Args:
            model: ONNX file of the heads, BatchNorm not folded.
            arrays: .npz of images (B, 3, H, W), labels (B, M, 5) and anchors (A, 4), corner form.
            variances: four, of the box encoding.
        """
        started = time.perf_counter()
        given = {name: torch.from_numpy(array) for name, array in np.load(arrays).items()}
        self.images = given["images"].contiguous(memory_format=torch.channels_last)
        self.labels, self.anchors = given["labels"], given["anchors"]
        self.variances = torch.tensor(variances)
        self.module = convert(model).to(memory_format=torch.channels_last).train()
        parameters = [value for value in self.module.parameters() if value.is_floating_point()]
        for value in parameters:
            value.requires_grad_(True)
        self.optimiser = torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        loss = self.step()
        return {"seconds": time.perf_counter() - started, "loss": loss, "note": "channels last"}

    def step(self) -> dict:
        """Forward, loss, backward, update; the sums of the loss before the update."""
        targets = self.targets()
        loc_pred, cls_pred = self.module(self.images)
        classification, localisation, positives = multibox_loss(loc_pred, cls_pred, *targets)
        self.optimiser.zero_grad(set_to_none=True)
        ((classification + localisation) / positives.clamp(min=1)).backward()
        self.optimiser.step()
        return {"cls": classification.item(), "loc": localisation.item(), "positives": positives.item()}

    @torch.no_grad()
    def targets(self) -> tuple:
        """Return the encoded boxes (B, A, 4) and classes (B, A) that the labels ask for."""
        found = [match(self.anchors, label[label[:, 0] >= 0], self.variances) for label in self.labels]
        return torch.stack([boxes for boxes, _ in found]), torch.stack([classes for _, classes in found])

    def do_run(self, seconds: float, least: int = 3) -> dict:
        """Take steps for some time and return the seconds of each."""
        return {"times": timed(lambda index: self.step(), 1, seconds, least)}

    def do_memory(self) -> dict:
        """Return the largest resident size that this process has had, in bytes."""
        return {"peak": peak_bytes()}


def match(anchors, objects, variances) -> tuple:
    """Match default boxes with the objects of an image and encode.

    Args:
        anchors: (A, 4), corner form.
        objects: (N, 5) of (class, xmin, ymin, xmax, ymax).
        variances: (4,).

    Returns:
        Encoded boxes (A, 4), zeros for background, and classes (A,), 0 for background.
    """
    if not len(objects):
        return torch.zeros_like(anchors), torch.zeros(len(anchors), dtype=torch.long)
    overlaps = iou(anchors, objects[:, 1:])  # (A, N)
    best, chosen = overlaps.max(dim=1)
    positive = best > OVERLAP
    left = overlaps.clone()
    for _ in range(len(objects)):  # each object its best default box, the surest pair first
        place = int(left.argmax())
        row, column = divmod(place, left.shape[1])
        positive[row], chosen[row] = True, column
        left[row], left[:, column] = -1, -1
    classes = torch.where(positive, objects[chosen, 0].long() + 1, torch.zeros_like(chosen))
    boxes = objects[chosen, 1:]
    size, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / size
    encoded = torch.cat([shift, (wanted / size).clamp(min=1e-8).log()], dim=1) / variances
    return torch.where(positive[:, None], encoded, torch.zeros_like(encoded)), classes


def iou(first, second):
    """Return the IoU (A, N) of boxes (A, 4) and (N, 4), corner form."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def multibox_loss(loc_pred, cls_pred, wanted, classes) -> tuple:
    """Return the summed cross-entropy of positives and mined negatives, the summed smooth L1, and the positives.

    Args:
        loc_pred: (B, 4A).
        cls_pred: (B, A, C+1).
        wanted: (B, A, 4) encoded boxes.
        classes: (B, A).
    """
    positive = classes > 0
    log_prob = functional.log_softmax(cls_pred, dim=2)  # (B, A, C+1)
    cross_entropy = -log_prob.gather(2, classes[:, :, None])[:, :, 0]  # (B, A)
    hardness = (-log_prob[:, :, 0]).detach().masked_fill(positive, -1)
    rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
    count = positive.sum(dim=1, keepdim=True)
    mined = torch.minimum((count * NEGATIVES).clamp(min=LEAST), (~positive).sum(dim=1, keepdim=True))
    chosen = positive | (rank < mined)
    distance = functional.smooth_l1_loss(loc_pred.reshape(wanted.shape), wanted, reduction="none")
    return cross_entropy[chosen].sum(), distance[positive].sum(), positive.sum()


def make(threads: int) -> TorchTraining:
    """Make the engine."""
    return TorchTraining(threads)
