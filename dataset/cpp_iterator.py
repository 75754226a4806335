"""What MXNet's C++ iterator of detection records is asked for, and how its labels are laid out.

Stands between a copy of the records (dataset/epochs.py) and the batches of dataset/iterator.py.
"""

from __future__ import annotations

from common.mx import mx
from dataset.records import RecordDataset


def strip_header(label, object_width: int):
    """Turn the iterator's label rows into objects.

    Args:
        label: (B, 4 + 2 + M * object_width) NDArray: C, H, W, number of floats, header width 2, object width, objects.
        object_width: floats of one object, 5 or 6.

    Returns:
        (B, M, object_width) NDArray.
    """
    return mx.nd.slice_axis(label, axis=1, begin=6, end=None).reshape((label.shape[0], -1, object_width))


def iterator_arguments(dataset: RecordDataset, batch_size: int, data_shape, mean, std) -> dict:
    """Return the arguments of ImageDetRecordIter that do not depend on the augmentation."""
    names = zip(("r", "g", "b"), mean, std)
    colours = {}
    for channel, channel_mean, channel_std in names:
        colours[f"mean_{channel}"], colours[f"std_{channel}"] = channel_mean, channel_std
    return {
        "batch_size": batch_size,
        "data_shape": (3, *data_shape),
        "label_width": -1,
        "label_pad_width": dataset.label_pad_width,
        "label_pad_value": -1,
        "resize_mode": "force",  # the only mode that re-projects the boxes
        "shuffle": False,
        "preprocess_threads": 1,
        "verbose": False,
        **colours,
    }
