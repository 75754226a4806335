"""What is wrong with each detection, and what became of each object: TIDE's six kinds of error.

First half of `evaluate.error_analysis`, which says what each kind costs. With t_f the foreground and t_b the
background IoU threshold, a detection that took no object is the first of these that fits:
- "box": its IoU with an object of its class is from t_b to t_f: seen, but the box is off.
- "class": its IoU with an object of another class is at least t_f: the box is right, the class is confused.
- "duplicate": its IoU with an object of its class that a better scored detection took is at least t_f.
- "background": its IoU with every object is at most t_b: nothing is there.
- "both": all else: an object is near, but box and class are off, or the box is off for an object of another class.
An object is "missed" that no detection took and that no "box" or "class" error was nearest to.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2.2. What the paper leaves open is as in the authors' library tidecv 1.0.1, which the tests hold this to:
- The 100 best scored detections of each image count. They go by score, equal ones in the order given, and take the
  object of their class that they overlap most among those still free, if the IoU is at least t_f (VOC's rule, in
  `evaluate.voc`, does not fall back on the next one).
- "box" is tried before "class", and for each kind the object of the highest IoU alone, be it free or taken.
- An IoU of exactly t_f takes a free object; with a taken one it is a "box" error, not a "duplicate".
- Crowds are neutral: a detection that took no object and of whose area more than t_f lies in a crowd of its class
  does not count for the AP. Yet it is given a kind and counted, and can be what saves an object from being "missed".

Deviation: difficult objects (VOC) are neutral in the way of crowds; tidecv knows no such mark.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.structures import Detections, Sample
from evaluate.overlaps import in_coco_form, overlaps

KINDS = ("class", "box", "both", "duplicate", "background", "missed")
CLASS, BOX, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
RIGHT = -1
_MAX_DETECTIONS = 100  # of an image
_NO_BOXES = np.zeros((0, 4))
_NO_DETECTIONS = Detections(np.zeros(0, np.int64), np.zeros(0, np.float32), _NO_BOXES)
_NO_TRUTH = Sample("", None, [], [], [])


class Verdicts(NamedTuple):
    """What each detection is: parallel arrays (D,)."""

    image: np.ndarray
    index: np.ndarray  # into the image's detections
    class_id: np.ndarray
    score: np.ndarray
    kind: np.ndarray  # into KINDS, or RIGHT
    truth: (
        np.ndarray
    )  # the object that decided it, an index into the image's objects; any number for BACKGROUND
    truth_class: np.ndarray
    iou: np.ndarray  # with that object; for BACKGROUND the highest with any
    saves: np.ndarray  # bool: would find its free object if it were mended, being the best scored that would
    neutral: np.ndarray  # bool: lies in a crowd or difficult object

    def select(self, index: np.ndarray) -> Verdicts:
        """Return those that a mask or an index array picks, in that order."""
        return Verdicts(*(values[index] for values in self))


class Outcomes(NamedTuple):
    """What became of each object that counts: parallel arrays (N,). Saved ones are neither found nor missed."""

    image: np.ndarray
    index: np.ndarray  # into the image's objects
    class_id: np.ndarray
    found: np.ndarray  # bool
    missed: np.ndarray  # bool
    iou: np.ndarray  # the highest with any detection


def judge(
    truths: list[Sample], detections: list[Detections], foreground: float, background: float
) -> tuple[Verdicts, Outcomes]:
    """Say what every detection is and what became of every object, in the order of the images.

    Args:
        truths: of each image.
        detections: of each image, in the pixels of the truth.
        foreground: t_f of the rule.
        background: t_b of the rule, in (0, t_f).
    """
    sides = in_coco_form([found.boxes for found in detections]), in_coco_form([t.boxes for t in truths])
    parts = [  # the first gives the arrays their types
        _judge_image(0, _NO_TRUTH, _NO_DETECTIONS, [_NO_BOXES, _NO_BOXES], foreground, background)
    ]
    parts += [
        _judge_image(image, truth, found, boxes, foreground, background)
        for image, (truth, found, *boxes) in enumerate(zip(truths, detections, *sides))
    ]
    return tuple(
        form(*(np.concatenate(values) for values in zip(*side)))
        for form, side in zip((Verdicts, Outcomes), zip(*parts))
    )


def _judge_image(
    image: int,
    truth: Sample,
    found: Detections,
    boxes: list[np.ndarray],
    foreground: float,
    background: float,
) -> tuple[Verdicts, Outcomes]:
    """Say what every detection of one image is and what became of its objects; `boxes` of both in COCO's form."""
    found_boxes, truth_boxes = boxes
    index = np.argsort(-found.score, kind="stable")[:_MAX_DETECTIONS]
    class_id, score = found.class_id[index], found.score[index]
    iou, share = overlaps(found_boxes[index], truth_boxes)  # (D, N)
    same = class_id[:, None] == truth.class_ids
    counts = ~(truth.crowd | truth.difficult)
    neutral = (same[:, ~counts] & (share[:, ~counts] > foreground)).any(axis=1)

    # At the end stands an object that is not there, of no class and overlapped by nothing: `argmax` wants one.
    objects = np.append(np.flatnonzero(counts), -1)
    classes = np.append(truth.class_ids[counts], -1)
    iou = np.append(iou[:, counts], np.zeros((len(index), 1)), axis=1)
    same = class_id[:, None] == classes
    taken = _match(iou * same, foreground)
    used = np.isin(np.arange(len(objects)), taken)
    kind, nearest = _kinds(iou, same, foreground, background)
    kind, nearest = np.where(taken < 0, kind, RIGHT), np.where(taken < 0, nearest, taken)

    near_miss = np.flatnonzero(((kind == BOX) | (kind == CLASS)) & ~used[nearest])
    wanted, best = np.unique(nearest[near_miss], return_index=True)  # the first, that is the best scored
    saves = np.isin(np.arange(len(index)), near_miss[best])
    missed = ~(used | np.isin(np.arange(len(objects)), wanted))

    near = iou[np.arange(len(index)), nearest]
    of_detections = (index, class_id, score, kind, objects[nearest], classes[nearest], near, saves, neutral)
    of_objects = (objects, classes, used, missed, iou.max(axis=0, initial=0))
    return (
        Verdicts(np.full(len(index), image), *of_detections),
        Outcomes(np.full(len(objects) - 1, image), *(values[:-1] for values in of_objects)),
    )


def _match(iou: np.ndarray, foreground: float) -> np.ndarray:
    """Give each detection the free object that it overlaps most.

    Args:
        iou: (D, N) of detections, best scored first, with objects; 0 where the classes differ.
        foreground: the least IoU.

    Returns:
        (D,) int64, the object taken; -1 where none was.
    """
    taken = np.full(len(iou), -1)
    free = iou.copy()
    for row in np.flatnonzero((iou >= foreground).any(axis=1)):
        best = free[row].argmax()
        if free[row, best] >= foreground:
            taken[row] = best
            free[:, best] = 0
    return taken


def _kinds(
    iou: np.ndarray, same: np.ndarray, foreground: float, background: float
) -> tuple[np.ndarray, np.ndarray]:
    """Say what each detection is that took no object.

    Args:
        iou: (D, N) of detections with objects.
        same: (D, N) bool, whether their classes are the same.
        foreground: t_f.
        background: t_b.

    Returns:
        (D,) int64 indices into KINDS; (D,) int64, the object that decided it.
    """
    kind, nearest = np.where(iou.max(axis=1) <= background, BACKGROUND, BOTH), iou.argmax(axis=1)
    # The last to write has the word, so the first in order of the rule comes last. Who took no object has found those
    # of its class from t_f on taken, so that they make a duplicate.
    for rule, compared, least, most in (
        (DUPLICATE, iou * same, foreground, np.inf),
        (CLASS, iou * ~same, foreground, np.inf),
        (BOX, iou * same, background, foreground),
    ):
        best = compared.argmax(axis=1)
        value = compared[np.arange(len(best)), best]
        fits = (least <= value) & (value <= most)
        kind[fits], nearest[fits] = rule, best[fits]
    return kind, nearest
