"""The pictures with the worst mistakes, for the report: each with truth, detections and its mistakes in words.

A mistake is what a user would see who draws detections at the suggested thresholds: the kinds are those of
`evaluate.error_analysis`, over the detections above the thresholds. A wrong detection weighs its score and a missed
object weighs 1; the heaviest pictures come first. Boxes are drawn by the page over the picture, so that truth and
detections can be shown one without the other; they are stated in per cent, since the picture may have another size.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.errors import SSDError
from common.structures import Detections, Sample
from evaluate.error_analysis import Mistake
from evaluate.findings import Findings

MOST_PICTURES = 24
LONGEST_SIDE = 1000  # pixels
_SMALLEST_SIDE = 64  # pixels; no JPEG is shrunk below that to save bytes
_SPACE = 600  # pixels of the longest side, left free where a picture is absent
_JPEG_BYTES = 3_300_000  # of all pictures together; as text in the page they take a third more
_QUALITIES = (85, 75, 65, 50, 35)
MOST_BOXES, MOST_BELOW = 100, 40  # detections of a picture above and below the thresholds
FAINTEST = 0.05  # score that the page's slider can still bring up

Pixels = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Box:
    """A box on a picture: place in per cent of the picture, what it is, and its label.

    Attributes:
        kind: "truth", "missed", "neutral" (a difficult object or a crowd), "right", "wrong", "found" (where there is
            no truth to judge by) or "low" (below the threshold, not judged).
        left, top, width, height: in per cent.
        label: the class, of detections with the score.
        score: of a detection, None of truth.
    """

    kind: str
    left: float
    top: float
    width: float
    height: float
    label: str
    score: float | None = None

    @property
    def is_truth(self) -> bool:
        """Whether this is ground truth, drawn solid, and not a detection, drawn dashed."""
        return self.score is None


@dataclass(frozen=True)
class Picture:
    """One picture of the gallery.

    Attributes:
        title: its name.
        uri: a JPEG as data URI; None where the picture cannot be had, and `absent` says why.
        size: (width, height) of that JPEG, or of the space to leave.
        boxes: truth first.
        mistakes: (kind, words), the heaviest first.
        left_out: detections above the thresholds that are too many to draw.
        weight: of the mistakes together.
    """

    title: str
    uri: str | None
    absent: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    mistakes: tuple[tuple[str, str], ...]
    left_out: int
    weight: float = 0.0


@dataclass(frozen=True)
class Shown:
    """The detections that a user would see at the suggested thresholds.

    Attributes:
        findings: with these detections only.
        index: of each image, (n,) where they stand among all detections.
    """

    findings: Findings
    index: list[np.ndarray]


def show_above(findings: Findings, thresholds: np.ndarray) -> Shown:
    """Return what is left of the findings above the thresholds, (C,) one for each class."""
    index = [np.flatnonzero(found.is_above(thresholds)) for found in findings.detections]
    chosen = [found.select(kept) for found, kept in zip(findings.detections, index)]
    return Shown(findings.with_detections(chosen), index)


def make_gallery(
    findings: Findings, shown: Shown, mistakes: tuple[Mistake, ...], pixels: Pixels | None, *, judged: bool
) -> list[Picture]:
    """Return the worst pictures, worst first.

    Args:
        findings: truth and all detections.
        shown: the detections above the thresholds.
        mistakes: of `shown.findings`; neutral ones are passed over.
        pixels: gives image i as (H, W, 3) uint8 RGB in any size; None where the pictures are not at hand.
        judged: False where no object counts: then nothing is a mistake, and the pictures with the most and surest
            detections are shown.

    Returns:
        Up to 24 pictures.
    """
    by_image = defaultdict(list)
    for mistake in mistakes:
        if judged and not mistake.neutral:
            by_image[mistake.image].append(mistake)
    detections = shown.findings.detections
    if judged:
        weights = {image: _weight(detections[image], made) for image, made in by_image.items()}
    else:
        weights = {image: float(found.score.sum()) for image, found in enumerate(detections)}
    order = sorted((i for i in weights if weights[i] > 0), key=lambda i: (-weights[i], i))[:MOST_PICTURES]
    pictures = []
    for image in order:
        jpeg = _fetch(pixels, image, _JPEG_BYTES // len(order))
        picture = _describe(findings, shown, image, by_image[image], judged=judged, jpeg=jpeg)
        pictures.append(dataclasses.replace(picture, weight=weights[image]))
    return pictures


def _weight(found: Detections, mistakes: list[Mistake]) -> float:
    """Return how bad the mistakes of one image are: scores of wrong detections, 1 for each missed object."""
    return float(sum(1.0 if m.detection is None else found.score[m.detection] for m in mistakes))


def _describe(
    findings: Findings, shown: Shown, image: int, mistakes: list[Mistake], *, judged: bool, jpeg: _Jpeg
) -> Picture:
    """Return one picture of the gallery, not yet weighed."""
    truth, found = findings.truths[image], findings.detections[image]
    size = truth.size or found.size or jpeg.size or (4, 3)
    space = jpeg.size or tuple(max(1, round(side * _SPACE / max(size))) for side in size)
    verdicts = _verdicts(len(found), shown.index[image], mistakes, judged)
    boxes = _truth_boxes(findings, truth, mistakes, size)
    boxes += _detection_boxes(found, verdicts, findings.class_names, size)
    heaviest_first = sorted(mistakes, key=lambda m: -_weight(shown.findings.detections[image], [m]))
    words = Counter((mistake.kind, in_words(mistake, shown.findings)) for mistake in heaviest_first)
    left_out = max(0, len(shown.index[image]) - MOST_BOXES)
    return Picture(
        _title(findings, image), jpeg.uri, jpeg.absent, space, tuple(boxes), _counted(words), left_out
    )


def _counted(words: Counter) -> tuple[tuple[str, str], ...]:
    """Return (kind, words) of mistakes, with their number where several sound alike."""
    return tuple((kind, text if count == 1 else f"{count} × {text}") for (kind, text), count in words.items())


def _title(findings: Findings, image: int) -> str:
    """Return the name of an image: its file's, else its id."""
    truth = findings.truths[image]
    name = Path(truth.image_path).name if truth.image_path else ""
    return name or str(truth.image_id) or f"image {findings.image_ids[image]}"


class _Jpeg(NamedTuple):
    """A picture for the page: `uri` and `size`, or why it is absent."""

    uri: str | None = None
    size: tuple[int, int] | None = None
    absent: str = ""


def _fetch(pixels: Pixels | None, image: int, most_bytes: int) -> _Jpeg:
    """Return a picture, at most 1000 pixels long, or why there is none."""
    if pixels is None:
        return _Jpeg(absent="The pictures were not at hand when this report was written.")
    try:
        values = pixels(image)
    except SSDError as error:  # one damaged picture must not cost the report
        return _Jpeg(absent=str(error))
    if values is None:
        return _Jpeg(absent="This picture was not at hand when this report was written.")
    picture = Image.fromarray(np.ascontiguousarray(values))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _Jpeg(_jpeg_uri(picture, most_bytes), picture.size)


def _jpeg_uri(picture: Image.Image, most_bytes: int) -> str:
    """Return a picture as data URI of a JPEG of at most that many bytes: first quality goes, then size."""
    while True:
        for quality in _QUALITIES:
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=quality, optimize=True)
            if stream.tell() <= most_bytes or max(picture.size) <= _SMALLEST_SIDE:
                return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
        picture = picture.resize([max(1, side * 3 // 4) for side in picture.size], Image.Resampling.LANCZOS)


def _truth_boxes(
    findings: Findings, truth: Sample, mistakes: list[Mistake], size: tuple[int, int]
) -> list[Box]:
    """Return an image's ground truth."""
    missed = {mistake.truth for mistake in mistakes if mistake.kind == "missed"}
    boxes = []
    for index, place in enumerate(_places(truth.boxes, size)):
        label = findings.class_names[truth.class_ids[index]]
        kind = "missed" if index in missed else "truth"
        if truth.crowd[index] or truth.difficult[index]:
            kind = "neutral"
            label += " (crowd)" if truth.crowd[index] else " (difficult)"
        boxes.append(Box(kind, *place, label))
    return boxes


def _verdicts(count: int, above: np.ndarray, mistakes: list[Mistake], judged: bool) -> list[str]:
    """Return the kind of box that each detection of an image is; see `Box`."""
    verdicts = ["low"] * count
    for index in above.tolist():
        verdicts[index] = "right" if judged else "found"
    for mistake in mistakes:
        if mistake.detection is not None:
            verdicts[int(above[mistake.detection])] = "wrong"
    return verdicts


def _detection_boxes(
    found: Detections, verdicts: list[str], class_names: tuple[str, ...], size: tuple[int, int]
) -> list[Box]:
    """Return an image's detections: those above the thresholds, and the best of the others for the slider."""
    above = [i for i, kind in enumerate(verdicts) if kind != "low"]
    above = sorted(above, key=lambda i: verdicts[i] != "wrong")[:MOST_BOXES]  # mistakes are kept first
    low = [i for i, kind in enumerate(verdicts) if kind == "low" and found.score[i] >= FAINTEST][:MOST_BELOW]
    places = _places(found.boxes, size)
    boxes = []
    for index in sorted(above + low):
        score = float(found.score[index])
        label = f"{class_names[found.class_id[index]]} {score:.2f}"
        boxes.append(Box(verdicts[index], *places[index], label, round(score, 4)))
    return boxes


def _places(boxes: np.ndarray, size: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    """Return boxes (N, 4) in pixels as (left, top, width, height) in per cent of the image, cut at its edges."""
    shares = np.asarray(boxes, np.float64).reshape(-1, 4) / np.array([*size, *size]) * 100
    shares = np.round(np.clip(shares, 0, 100), 2)
    return [
        (left, top, round(max(0.0, right - left), 2), round(max(0.0, bottom - top), 2))
        for left, top, right, bottom in shares.tolist()
    ]


def in_words(mistake: Mistake, findings: Findings) -> str:
    """Say what a mistake is, in one line.

    Args:
        mistake: with indices into `findings`.
        findings: that it was found in.
    """
    truth, found = findings.truths[mistake.image], findings.detections[mistake.image]
    there = None if mistake.truth is None else findings.class_names[truth.class_ids[mistake.truth]]
    if mistake.detection is None:
        return f"{there} missed"
    what = findings.class_names[found.class_id[mistake.detection]]
    what = f"{what} {found.score[mistake.detection]:.2f}"
    words = {
        "class": f"{what} found where a {there} is",
        "box": f"{what}: box is off (IoU {mistake.iou:.2f})",
        "both": f"{what} found near a {there}: class wrong and box off (IoU {mistake.iou:.2f})",
        "duplicate": f"{what} found once more",
        "background": f"{what} found where nothing is",
    }
    return words[mistake.kind]
