"""What is known of a published weights file: where it lies, its checksum, how it was trained, what it scored."""

from __future__ import annotations

from dataclasses import dataclass

from common.checksum import Checksum

DETECTOR, BACKBONE = "detector", "backbone"


@dataclass(frozen=True)
class ZooEntry:
    """A downloadable weights file.

    Attributes:
        name: under which `model/download.py` takes it.
        kind: DETECTOR, or BACKBONE (ImageNet's 1000 classes, a start for training).
        url: of a zip archive.
        files: (pattern of a name in the archive, name of the file here); the last one holds the parameters.
        source: who publishes it.
        usage: command for what comes next; {prefix} and {params} are the files here.
        checksum: of the parameters, as published; None where the publisher states none.
        network: name of the network here; "" where it is imported under a name of its own.
        classes: names in the order of their ids; () for a backbone.
        data_shape: (height, width) of the input that it was trained with, in pixels.
        mean: (R, G, B), 0 to 255, subtracted from the input.
        std: (R, G, B), which divides it then.
        score: published average precision in percent; None where none is published.
        metric: what the score is, and on which images.
    """

    name: str
    kind: str
    url: str
    files: tuple[tuple[str, str], ...]
    source: str
    usage: str
    checksum: Checksum | None = None
    network: str = ""
    classes: tuple[str, ...] = ()
    data_shape: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    score: float | None = None
    metric: str = ""

    @property
    def params(self) -> str:
        """Name of the parameters' file here."""
        return self.files[-1][1]
