"""Print what TensorBoard's own reader finds in a folder of logs, as JSON: a program of its own, without mxboard.

Usage: python read_logs.py FOLDER. Nothing is purged or sampled, so that a step that is there twice is seen twice.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

EVERYTHING = dict.fromkeys(("scalars", "images", "histograms", "tensors", "compressedHistograms"), 0)


def read_run(folder: Path) -> dict:
    """Return tag -> entries, by kind, of one folder with event files."""
    events = EventAccumulator(str(folder), size_guidance=EVERYTHING, purge_orphaned_data=False).Reload()
    tags = events.Tags()
    assert "mxboard" not in sys.modules
    return {
        "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
        "images": {tag: [picture(e) for e in events.Images(tag)] for tag in tags["images"]},
        "histograms": {tag: [histogram(e) for e in events.Histograms(tag)] for tag in tags["histograms"]},
        "tensors": {tag: [[e.step, tensor(e)] for e in events.Tensors(tag)] for tag in tags["tensors"]},
        "plugins": {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in tags["tensors"]},
    }


def picture(event) -> list:
    """Return [step, width, height], those of the decoded picture, held to what the event says."""
    size = Image.open(io.BytesIO(event.encoded_image_string)).size
    assert size == (event.width, event.height)
    return [event.step, *size]


def histogram(event) -> list:
    """Return [step, number of values, least, greatest, sum, sum over the buckets]."""
    values = event.histogram_value
    return [event.step, values.num, values.min, values.max, values.sum, sum(values.bucket)]


def tensor(event) -> object:
    """Return a text, or numbers as nested lists."""
    array = tensor_util.make_ndarray(event.tensor_proto)
    return array.item().decode() if array.dtype == object else array.tolist()


if __name__ == "__main__":
    root = Path(sys.argv[1])
    folders = sorted({path.parent for path in root.rglob("*tfevents*")})
    print(json.dumps({str(folder.relative_to(root)): read_run(folder) for folder in folders}))
