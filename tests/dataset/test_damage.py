"""Damaged records, and folders that do not do, as the training iterator meets them: named, never dropped in silence."""

from __future__ import annotations

import pytest

from common.errors import ConfigError, RecordError
from dataset.augmentation import recipe
from dataset.iterator import TrainingIterator
from dataset.records import RecordDataset


@pytest.fixture
def read(tmp_path):
    """Return a function that reads an epoch of a data set to its end and returns the number of batches."""

    def run(dataset, *, batch_size=1, folder=tmp_path / "copies") -> int:
        iterator = TrainingIterator(
            dataset, batch_size=batch_size, data_shape=(48, 64), mean=(0, 0, 0), std=(1, 1, 1),
            augmentation=recipe("none"), seed=7, workers=2, folder=folder,
        )  # fmt: skip
        try:
            return sum(1 for _ in iterator.epoch(0, next_epoch=False))
        finally:
            iterator.close()

    return run


def test_damaged_image_is_named_as_the_list_names_it(voc, tmp_path, read):
    for number in range(6):
        voc.add(f"picture{number}", [("cat", 1, 1, 20, 20)])
    voc.pack(tmp_path / "t")
    path = tmp_path / "t.rec"
    data = path.read_bytes()
    begin = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"][2]
    path.write_bytes(data[:begin] + b"GARBAGE!" + data[begin + 8 :])
    with pytest.raises(RecordError, match=r"t\.rec.*damaged: JPEGImages/picture2\.jpg \(record 2\)"):
        read(RecordDataset(path), batch_size=2)


@pytest.mark.parametrize("flip", [1, 6])
def test_record_that_mxnet_would_drop_in_silence_is_an_error(packed, read, flip):
    dataset = RecordDataset(packed)
    data = bytearray(packed.read_bytes())
    data[int(dataset.record_sizes[:2].sum()) + flip] ^= 1
    packed.write_bytes(data)
    with pytest.raises(RecordError, match=r"train\.rec: record 2: its frame is damaged"):
        read(RecordDataset(packed))


def test_batch_that_lacks_a_record_is_an_error(packed, read, monkeypatch):
    monkeypatch.setattr("dataset.iterator.read_whole", lambda dataset, index: dataset.read_raw(index))
    dataset = RecordDataset(packed)
    data = bytearray(packed.read_bytes())
    data[int(dataset.record_sizes[0])] ^= 1
    packed.write_bytes(data)
    with pytest.raises(RecordError, match=r"train\.rec: .*damaged: JPEGImages/b\.jpg \(record 1\)"):
        read(RecordDataset(packed), batch_size=5)


def test_folder_that_cannot_be_written_is_an_error(packed, read, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file/copies: the shuffled copy .* cannot be written"):
        read(RecordDataset(packed), folder=tmp_path / "file" / "copies")


@pytest.mark.parametrize("name", ["a#b", "a;b", "a?b"])
def test_folder_that_mxnet_cannot_read_from_is_refused(packed, read, tmp_path, name):
    with pytest.raises(
        ConfigError, match=r"MXNet cannot read records from a folder with '[#;?]' in its name"
    ):
        read(RecordDataset(packed), folder=tmp_path / name / "records")


def test_folder_of_any_other_name_is_read_from(packed, read, tmp_path):
    assert read(RecordDataset(packed), folder=tmp_path / "größe, [2] *%20'x" / "records") == 5
