import numpy as np

from common.mx import mx
from dataset.records import RecordDataset
from dataset.verify import verify


def test_whole_records_are_whole(packed):
    report = verify(RecordDataset(packed))
    assert (report.records, report.damaged, report.files, report.has_hashes) == (5, [], [], True)
    assert report.is_whole


def test_one_flipped_bit_anywhere_is_found(packed):
    whole = packed.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.integers(100, len(whole) - 2000, 25):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        packed.write_bytes(damaged)
        report = verify(RecordDataset(packed))
        assert not report.is_whole
        assert report.files == [
            ("train.rec", "changed since it was packed: its sha256 is not the manifest's")
        ]


def test_damaged_records_are_numbered(packed):
    dataset = RecordDataset(packed)
    whole, begin = bytearray(packed.read_bytes()), np.cumsum([0, *dataset.record_sizes])
    whole[begin[1]] ^= 1  # magic number of record 1
    whole[begin[3] - 60 : begin[3]] = bytes(60)  # the end of record 2's image
    whole[begin[4] + 8 + 24 + 8 : begin[4] + 8 + 24 + 12] = np.float32(np.nan).tobytes()  # a class id
    packed.write_bytes(whole)
    report = verify(RecordDataset(packed))
    assert [key for key, _ in report.damaged][::2] == [1, 4]
    assert "where a record begins" in report.damaged[0][1]
    assert "nan" in report.damaged[-1][1]


def test_cut_image_is_found_without_a_manifest(packed, voc, tools, tmp_path):
    path = packed.parent / "old.rec"
    writer = mx.recordio.MXRecordIO(str(path), "w")
    image = tools.encode(tools.picture(300, 200))
    for key, data in enumerate((image, image[: len(image) // 2])):
        header = mx.recordio.IRHeader(0, np.array([2, 5, 0, 0, 0, 1, 1], np.float32), key, 0)
        writer.write(mx.recordio.pack(header, data))
    writer.close()
    report = verify(RecordDataset(path))
    assert [key for key, _ in report.damaged] == [1]
    assert "cut short" in report.damaged[0][1]
    assert not report.has_hashes


def test_missing_and_changed_side_files_are_found(packed):
    packed.with_suffix(".lst").unlink()
    packed.with_name("train.gt.json").write_text("{}")
    names = [name for name, _ in verify(RecordDataset(packed)).files]
    assert names == ["train.lst", "train.gt.json"]
