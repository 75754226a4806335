"""The order in which an epoch reads the records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.epochs import Segment, batches_per_epoch, epoch_order, plan_epoch, write_parts

SIZES = st.lists(st.integers(8, 10**6), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("count", "size", "batches"), [(1, 1, 1), (10, 5, 2), (11, 5, 3), (3, 8, 1), (8, 8, 1)]
)
def test_last_batch_is_filled_up(count, size, batches):
    assert batches_per_epoch(count, size) == batches
    segments = plan_epoch(np.full(count, 100), size, 0, 0, 10**9)
    order = np.concatenate(segments[0].batches)
    assert len(order) == batches * size
    np.testing.assert_array_equal(order, np.resize(epoch_order(count, 0, 0), batches * size))


@settings(deadline=None)
@given(SIZES, st.integers(1, 20), st.integers(0, 5), st.integers(0, 5), st.integers(1, 5 * 10**6))
def test_segments_hold_every_record_in_the_order_of_the_whole(sizes, batch_size, seed, epoch, limit):
    sizes = np.array(sizes)
    segments = plan_epoch(sizes, batch_size, seed, epoch, limit)
    whole = plan_epoch(sizes, batch_size, seed, epoch, 10**12)
    assert len(whole) == 1
    batches = [batch for segment in segments for batch in segment.batches]
    np.testing.assert_array_equal(batches, whole[0].batches)
    assert set(np.concatenate(batches)) == set(range(len(sizes)))
    assert {len(batch) for batch in batches} == {batch_size}
    assert [segment.first_batch for segment in segments] == np.cumsum(
        [0, *(len(segment.batches) for segment in segments[:-1])]
    ).tolist()
    for segment in segments:
        assert segment.epoch == epoch
        assert len(segment.batches) == 1 or sizes[np.concatenate(segment.batches)].sum() <= limit


def test_order_is_drawn_from_seed_and_epoch_alone():
    orders = [tuple(epoch_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)]
    assert len(set(orders)) == 25
    assert orders == [tuple(epoch_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)]
    # (1, 0) and (0, 1) are others, and so are (1, 23) and (12, 3)
    assert tuple(epoch_order(50, 1, 23)) != tuple(epoch_order(50, 12, 3))


def test_order_stays_the_same_from_version_to_version():
    """A resumed run must see the same bytes, so this must never change."""
    assert epoch_order(8, 1, 2).tolist() == [6, 0, 7, 5, 1, 4, 3, 2]


def test_every_position_is_as_likely():
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), epoch_order(6, 0, epoch)] += 1
    assert np.abs(counts - 500).max() < 110  # 5 standard deviations


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_parts_deal_the_batches_out_in_turn(tmp_path, workers):
    batches = tuple(np.arange(3) + 3 * number for number in range(5))
    segment = Segment(4, 10, batches)
    paths = write_parts(segment, lambda index: b"%02d," % index, workers, tmp_path)
    assert len(paths) == min(workers, 5)
    for worker, path in enumerate(paths):
        expected = [index for batch in batches[worker::workers] for index in batch]
        assert path.read_bytes() == b"".join(b"%02d," % index for index in expected)


def test_parts_of_other_segments_have_other_names(tmp_path):
    segments = [Segment(epoch, first, (np.arange(2),)) for epoch in (0, 1) for first in (0, 10)]
    names = {path.name for segment in segments for path in write_parts(segment, lambda _: b"", 1, tmp_path)}
    assert len(names) == 4
