"""Augmented training images as pixels, for looking at: what the network sees in training, before it is normalised."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from dataset.augmentation import recipe
from dataset.iterator import TrainingIterator
from dataset.records import RecordDataset


def preview_batches(
    path, data_shape: tuple[int, int], count: int, seed: int, augment: str = "ssd"
) -> list[tuple]:
    """Return augmented training images as the network would see them, for looking at.

    Args:
        path: of the packed records.
        data_shape: (height, width).
        count: how many images.
        seed: of the order.
        augment: name of the augmentation.

    Returns:
        [(position of the record, pixels (H, W, 3) uint8 RGB, label (N, 6) of (class, xmin, ymin, xmax, ymax,
        difficult), normalised)].
    """
    dataset = RecordDataset(path)
    with tempfile.TemporaryDirectory() as folder:
        iterator = TrainingIterator(
            dataset,
            batch_size=1,
            data_shape=data_shape,
            mean=(123.0, 117.0, 104.0),
            std=(1.0, 1.0, 1.0),
            augmentation=recipe(augment),
            seed=seed,
            workers=1,
            folder=Path(folder) / "records",
        )
        images = []
        for batch in iterator.epoch(0, next_epoch=False):
            pixels = batch.data[0].asnumpy().transpose(1, 2, 0) + (123, 117, 104)
            rows = batch.label[0].asnumpy()
            images.append(
                (
                    int(batch.records[0]),
                    np.clip(np.round(pixels), 0, 255).astype(np.uint8),
                    rows[rows[:, 0] >= 0],
                )
            )
            if len(images) == count:
                break
        iterator.close()
    return images
