"""The training iterator: every record, in the planned order, with the same bytes each time they are asked for."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest

from common.errors import ConfigError, RecordError
from common.mx import mx
from dataset.augmentation import recipe
from dataset.epochs import Part, plan_epoch
from dataset.iterator import TrainingIterator, default_workers
from dataset.records import RecordDataset

COUNT = 40
MEAN, STD = (123.0, 117.0, 104.0), (58.0, 57.0, 57.5)


def write(path, tools, count=COUNT, columns=6, damaged=()):
    """Write records whose picture and first box tell their number; every tenth has no object."""
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for key in range(count):
        rows = [[key % 5, 0.1, 0.1, 0.2 + key / 100, 0.9, *[0] * (columns - 5)]] * (1 + key % 3)
        rows = [[-1.0] * columns] if key % 10 == 9 else rows
        image = b"no picture" * 40 if key in damaged else tools.encode(tools.picture(96, 80, seed=key))
        header = mx.recordio.IRHeader(0, np.array([2, columns, *np.ravel(rows)], np.float32), key, 0)
        writer.write_idx(key, mx.recordio.pack(header, image))
    writer.close()
    return RecordDataset(path)


@pytest.fixture
def dataset(tmp_path, tools):
    """40 records without a manifest."""
    return write(tmp_path / "train.rec", tools)


@pytest.fixture
def opened(tmp_path):
    """Make iterators; all are closed in the end."""
    made = []

    def make(dataset, **changes):
        settings = {
            "batch_size": 4, "data_shape": (48, 64), "mean": MEAN, "std": STD, "augmentation": recipe("ssd"),
            "seed": 7, "workers": 2, "folder": tmp_path / f"copies{len(made)}",
        }  # fmt: skip
        made.append(TrainingIterator(dataset, **{**settings, **changes}))
        return made[-1]

    yield make
    for iterator in made:
        iterator.close()


def epoch_of(iterator, epoch=0, first_batch=0, next_epoch=False) -> list[tuple]:
    """Return [(number, records, data, label)] of an epoch."""
    return [
        (batch.number, batch.records.tolist(), batch.data.asnumpy(), batch.label.asnumpy())
        for batch in iterator.epoch(epoch, first_batch, next_epoch)
    ]


def assert_same(found, expected):
    """Hold batches to others, bit for bit; say where they differ."""
    assert [batch[:2] for batch in found] == [batch[:2] for batch in expected]
    for one, other in zip(found, expected):
        for what, first, second in (("pixels", one[2], other[2]), ("labels", one[3], other[3])):
            differ = [
                f"{record} by {np.abs(a - b).max()}"
                for record, a, b in zip(one[1], first, second)
                if a.tobytes() != b.tobytes()
            ]
            assert not differ, f"batch {one[0]}: {what} of records {', '.join(differ)}"


def pixels_by_record(batches) -> dict:
    return {record: data[i].tobytes() for _, records, data, _ in batches for i, record in enumerate(records)}


def test_label_that_is_a_header_alone_is_named(tmp_path, tools, opened):
    """MXNet's iterator stops at it in the middle of an epoch, without a word of which record it is."""
    path = tmp_path / "a.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for key, label in enumerate(([2, 5, 0, 0.1, 0.1, 0.5, 0.5], [2, 5])):
        header = mx.recordio.IRHeader(0, np.array(label, np.float32), key + 10, 0)
        writer.write_idx(key + 10, mx.recordio.pack(header, tools.encode(tools.picture(96, 80))))
    writer.close()
    with (
        RecordDataset(path) as dataset,
        pytest.raises(RecordError, match=r"record 11 .*: its label is a header"),
    ):
        opened(dataset)


@pytest.mark.parametrize("workers", [1, 3, 11])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_record_comes_in_the_order_of_the_plan(dataset, opened, workers, batch_size):
    iterator = opened(dataset, workers=workers, batch_size=batch_size, augmentation=recipe("none"))
    batches = epoch_of(iterator, 2)
    plan = plan_epoch(dataset.record_sizes, batch_size, 7, 2, 10**9)[0].batches
    assert [number for number, *_ in batches] == list(range(iterator.batches_per_epoch))
    np.testing.assert_array_equal([records for _, records, *_ in batches], plan)
    assert {record for _, records, *_ in batches for record in records} == set(range(COUNT))
    for _, records, data, label in batches:
        assert data.shape == (batch_size, 3, 48, 64)
        for record, rows in zip(records, label):
            expected = dataset.read(record).label
            np.testing.assert_allclose(rows[rows[:, 0] >= 0], expected, atol=1e-6)
            assert (rows[len(expected) :] == -1).all()


def test_pixels_are_normalised_rgb(tmp_path, tools, opened):
    colour = np.array([200, 100, 50])
    path = tmp_path / "a.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    header = mx.recordio.IRHeader(0, np.array([2, 6, 0, 0, 0, 1, 1, 0], np.float32), 0, 0)
    image = tools.encode(np.full((60, 80, 3), colour, np.uint8), "PNG")
    writer.write_idx(0, mx.recordio.pack(header, image))
    writer.close()
    iterator = opened(RecordDataset(path), batch_size=1, augmentation=recipe("none"))
    ((_, _, data, _),) = epoch_of(iterator)
    expected = np.broadcast_to(((colour - MEAN) / STD)[:, None, None], (3, 48, 64))
    np.testing.assert_allclose(data[0], expected, atol=1e-5)


@pytest.mark.parametrize("augment", ["ssd", "microscope"])
@pytest.mark.parametrize("segment_bytes", [10**9, 20000, 1])
def test_same_seed_and_epoch_give_the_same_bytes(dataset, opened, augment, segment_bytes):
    settings = {"augmentation": recipe(augment), "segment_bytes": segment_bytes}
    first = opened(dataset, **settings)
    epochs = [epoch_of(first, epoch) for epoch in (0, 1)]
    assert_same(epoch_of(first, 0), epochs[0])
    again = opened(dataset, **settings)
    assert_same(epoch_of(again, 1), epochs[1])
    for start in (1, 5, 9):
        assert_same(epoch_of(again, 1, start), epochs[1][start:])


def test_epochs_prepared_ahead_are_the_same(dataset, opened):
    expected = [epoch_of(opened(dataset), epoch) for epoch in range(3)]
    iterator = opened(dataset)
    for epoch in range(3):
        assert_same(epoch_of(iterator, epoch, next_epoch=True), expected[epoch])
    # an epoch other than the one that was prepared
    assert_same(epoch_of(iterator, 0), expected[0])


def test_epoch_left_in_its_middle_can_be_begun_again(dataset, opened):
    iterator = opened(dataset, segment_bytes=20000)
    expected = epoch_of(iterator, 1)
    source = iterator.epoch(1)
    for _ in range(3):
        next(source)
    source.close()
    assert_same(epoch_of(iterator, 1, 3), expected[3:])


@pytest.mark.parametrize("segment_bytes", [10**9, 60000])
def test_pixels_differ_between_epochs_and_between_seeds(dataset, opened, segment_bytes):
    iterator = opened(dataset, segment_bytes=segment_bytes)
    one, two = (pixels_by_record(epoch_of(iterator, epoch)) for epoch in (0, 1))
    other = pixels_by_record(epoch_of(opened(dataset, seed=8, segment_bytes=segment_bytes)))
    for compared in (two, other):
        assert sum(one[record] != compared[record] for record in one) >= 0.95 * COUNT


@pytest.mark.parametrize("columns", [5, 6])
def test_labels_have_the_records_columns_and_none_without_objects(tmp_path, tools, opened, columns):
    dataset = write(tmp_path / "old.rec", tools, columns=columns)
    empty = 0
    for _, records, _, label in epoch_of(opened(dataset)):
        assert label.shape == (4, 3, columns)
        void = label[:, :, 0] < 0
        assert (label[void] == -1).all()
        assert (np.diff(void.astype(int), axis=1) >= 0).all()  # void rows stand at the end
        boxes = label[~void][:, 1:5]
        assert ((boxes >= 0) & (boxes <= 1)).all()
        for record, rows in zip(records, label):
            if record % 10 == 9:
                empty += 1
                assert (rows == -1).all()
    assert empty == COUNT / 10


def test_records_with_their_manifest_are_read(packed, opened):
    dataset = RecordDataset(packed)
    iterator = opened(dataset, batch_size=2, augmentation=recipe("none"))
    batch = next(iterator.epoch(0, next_epoch=False))
    assert iterator.record_names(batch) == [dataset.name(int(index)) for index in batch.records]
    assert iterator.record_names(batch)[0].startswith("JPEGImages/")
    assert {record for _, records, *_ in epoch_of(iterator) for record in records} == set(range(5))


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"workers": 0}])
def test_settings_below_one_are_refused(dataset, opened, change):
    with pytest.raises(ConfigError, match="each must be at least 1"):
        opened(dataset, **change)


def test_copies_go_away_at_the_end_and_stale_ones_at_the_start(dataset, opened, tmp_path):
    folder = tmp_path / "run.records"
    folder.mkdir()
    (folder / "epoch0077-batch000000-0.rec").write_bytes(b"of a killed run")
    iterator = opened(dataset, folder=folder, segment_bytes=20000)
    most = 0
    for _ in iterator.epoch(0):
        names = sorted(path.name for path in folder.iterdir())
        most = max(most, sum(path.stat().st_size for path in folder.iterdir()))
        assert names
        assert "epoch0077-batch000000-0.rec" not in names
    assert most <= 2 * 20000
    iterator.close()
    assert not folder.exists()
    iterator.close()
    assert len(epoch_of(iterator)) == 10  # it opens again


def test_other_files_in_the_folder_stay(dataset, opened, tmp_path):
    names = ["epoch0001.rec", "epoch0001-batch000000-0.rec.bak", "my.rec"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    iterator = opened(dataset, folder=tmp_path)
    epoch_of(iterator)
    iterator.close()
    assert {(tmp_path / name).read_bytes() for name in names} == {b"mine"}
    assert not list(tmp_path.glob("epoch*-batch*-?.rec"))


def test_no_copy_goes_away_while_another_is_opened(dataset, opened, tmp_path, monkeypatch):
    """MXNet looks at every file of the folder when it opens one, and fails where one is gone meanwhile."""
    real, lost = mx.io.ImageDetRecordIter, []

    def slow(**arguments):
        there = set((tmp_path / "copies").iterdir())
        time.sleep(0.02)
        made = real(**arguments)
        lost.extend(there - set((tmp_path / "copies").iterdir()))
        return made

    monkeypatch.setattr("mxnet.io.ImageDetRecordIter", slow)
    iterator = opened(dataset, segment_bytes=1, folder=tmp_path / "copies")
    for epoch in range(2):
        assert len(epoch_of(iterator, epoch, next_epoch=True)) == 10
    assert not lost


def test_closing_after_an_error_or_in_the_middle_leaves_nothing(tmp_path, tools, opened):
    dataset = write(tmp_path / "a.rec", tools, damaged=range(COUNT))
    before = threading.active_count()
    iterator = opened(dataset, segment_bytes=20000, folder=tmp_path / "here")
    with pytest.raises(RecordError):
        epoch_of(iterator)
    iterator._prepare(iterator._plan(1)[0])  # the error is waiting in the background
    iterator.close()
    assert not (tmp_path / "here").exists()
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_image_is_named_with_its_file(tmp_path, tools, opened, workers):
    dataset = write(tmp_path / "a.rec", tools, damaged=(17, 30))
    with pytest.raises(
        RecordError, match=r"a\.rec: a record cannot be decoded; damaged: record 17, record 30: .*--ver"
    ):
        epoch_of(opened(dataset, workers=workers))


def test_workers_follow_the_cores_within_bounds():
    assert [default_workers(cores) for cores in (0, 1, 2, 16, 64)] == [1, 1, 2, 16, 16]


@pytest.mark.parametrize("segment_bytes", [10**9, 60_000])
def test_parts_together_are_the_whole_batch(dataset, opened, segment_bytes):
    """Without augmentation pixel by pixel; the draws of an augmentation follow a part's own files."""
    settings = {"augmentation": recipe("none"), "segment_bytes": segment_bytes}
    whole = epoch_of(opened(dataset, **settings), epoch=1)
    parts = [epoch_of(opened(dataset, part=Part(index, 2), **settings), epoch=1) for index in range(2)]
    joined = [
        (first[0], first[1] + second[1], *(np.concatenate(pair) for pair in zip(first[2:], second[2:])))
        for first, second in zip(*parts)
    ]
    assert len(joined) == 10
    assert_same(joined, whole)


def test_part_draws_its_share_of_the_batchs_vertical_flips(dataset, opened):
    flips = dataclasses.replace(recipe("none"), flip_probability=0.5)
    whole, plain = (epoch_of(opened(dataset, augmentation=kind)) for kind in (flips, recipe("none")))
    assert any(a[2].tobytes() != b[2].tobytes() for a, b in zip(whole, plain))
    for index in range(4):
        rows = slice(index, index + 1)
        part = epoch_of(opened(dataset, augmentation=flips, part=Part(index, 4)))
        assert_same(part, [(n, records[rows], data[rows], label[rows]) for n, records, data, label in whole])


def test_part_with_augmentation_gives_the_same_bytes_each_time(dataset, opened):
    part = Part(1, 2)
    assert_same(epoch_of(opened(dataset, part=part)), epoch_of(opened(dataset, part=part)))


def test_batch_that_cannot_be_split_into_parts_is_refused(dataset, opened):
    with pytest.raises(
        ConfigError, match="--batch-size 4: cannot be split over 3 workers: give a multiple of 3"
    ):
        opened(dataset, part=Part(0, 3))
