import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from common.errors import RecordError
from common.mx import mx
from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.records import RecordDataset


def write_old(path, labels, image=None, keys=None, with_index=False):
    """Write records as mxnet-ssd's im2rec does, by mxnet itself."""
    image = b"\xff\xd8\xff" if image is None else image
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for index, label in enumerate(labels):
        key = index if keys is None else keys[index]
        writer.write_idx(
            key, mx.recordio.pack(mx.recordio.IRHeader(0, np.array(label, np.float32), key, 0), image)
        )
    writer.close()
    if not with_index:
        path.with_suffix(".idx").unlink()
    return path


CAT = [1, 0.1, 0.2, 0.3, 0.4]


def test_records_and_truth_are_read(packed, voc):
    dataset = RecordDataset(packed)
    assert (len(dataset), dataset.class_names, dataset.keys) == (5, ("cat", "dog"), [0, 1, 2, 3, 4])
    assert (dataset.max_objects, dataset.object_width, dataset.label_pad_width) == (2, 6, 14)
    record = dataset.read(0)
    assert (record.key, record.name) == (0, "JPEGImages/a.jpg")
    assert record.image == (voc.root / "JPEGImages" / "a.jpg").read_bytes()
    assert record.label.shape == (2, 6)
    assert dataset.read(2).label.shape == (0, 6)
    truth = dataset.truth(0)
    assert (truth.size, truth.image_id, truth.class_ids.tolist()) == ((64, 48), "a", [1, 0])
    np.testing.assert_array_equal(truth.boxes, [[4, 4, 30, 40], [9, 7, 64, 48]])
    assert truth.difficult.tolist() == [False, True]
    assert len(dataset.truth(2).class_ids) == 0


def test_numbers_of_images_and_classes_come_from_the_truth(voc, tmp_path):
    voc.add("a", [("ant", 1, 1, 9, 9), ("bee", 1, 1, 9, 9)]).add("b", [("bee", 1, 1, 9, 9)]).add("c")
    read = voc.read()
    samples = [dataclasses.replace(s, image_id=n) for s, n in zip(read.samples, (139, 7, 2**40))]
    numbered = dataclasses.replace(read, samples=samples, category_ids=(90, 18))
    pack(numbered, tmp_path / "t", options=PackOptions(seed=1), made_by={"set": "val2017"})
    dataset = RecordDataset(tmp_path / "t.rec")
    assert dataset.image_ids == tuple(dataset.truth(index).image_id for index in range(3))
    assert dataset.image_ids != (139, 7, 2**40)  # the order of the file, which is shuffled
    assert (sorted(dataset.image_ids), dataset.category_ids) == ([7, 139, 2**40], (90, 18))
    assert dataset.set_name == "val2017"


def test_numbers_of_classes_and_images_without_own_ones(packed):
    dataset = RecordDataset(packed)
    assert (dataset.category_ids, dataset.image_ids, dataset.set_name) == ((1, 2), (1, 2, 3, 4, 5), "train")


@pytest.mark.parametrize("what", ["category_ids", "image_ids"])
def test_numbers_need_the_truth_that_the_manifest_names(packed, what):
    packed.with_name("train.gt.json").unlink()
    with pytest.raises(RecordError, match=r"train\.gt\.json: missing"):
        getattr(RecordDataset(packed), what)


def test_order_of_the_file_is_kept_when_shuffled(voc, tmp_path):
    for number in range(20):
        voc.add(f"{number:02d}", [("ant", 1, 1, number + 5, 9)])
    voc.pack(tmp_path / "t", shuffle=True)
    dataset = RecordDataset(tmp_path / "t.rec")
    assert dataset.keys == list(range(20))
    for index in range(20):
        width = dataset.truth(index).boxes[0, 2]
        assert dataset.read(index).label[0, 3] == np.float32(width / 64)
        assert dataset.name(index) == f"JPEGImages/{int(width) - 5:02d}.jpg"


def test_raw_records_make_up_the_file(packed):
    dataset = RecordDataset(packed)
    whole = b"".join(dataset.read_raw(index) for index in range(len(dataset)))
    assert whole == packed.read_bytes()
    assert dataset.record_sizes.sum() == len(whole)


def test_scan_counts_objects(packed):
    scan = RecordDataset(packed).scan()
    assert scan.counts.tolist() == [2, 1, 0, 2, 1]
    assert (scan.objects.shape, scan.rows, scan.object_width) == ((6, 6), 2, 6)


def test_threads_read_the_same(packed):
    dataset = RecordDataset(packed)
    expected = [dataset.read(index).image for index in range(5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: dataset.read(index % 5).image, range(400)))
    assert found == expected * 80


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("columns", [5, 6])
def test_old_records_without_manifest_are_read(tmp_path, tools, with_index, columns):
    row = CAT + [1] * (columns - 5)
    labels = [[2, columns, *row], [2, columns, *row, *row], [2, columns, *[-1] * columns]]
    image = tools.encode(tools.picture(64, 48))
    path = write_old(tmp_path / "old.rec", labels, image, [7, 3, 9], with_index)
    dataset = RecordDataset(path)
    assert (dataset.class_names, dataset.manifest, dataset.keys) == ((), None, [7, 3, 9])
    assert (dataset.object_width, dataset.max_objects, dataset.label_pad_width) == (
        columns,
        2,
        2 + 2 * columns,
    )
    assert dataset.read(0).label.tolist() == [[*np.float32(CAT).tolist(), columns - 5]]
    truth = dataset.truth(1)
    assert truth.size == (64, 48)
    np.testing.assert_allclose(truth.boxes, [[6.4, 9.6, 19.2, 19.2]] * 2, rtol=1e-6)
    assert truth.difficult.tolist() == [columns == 6] * 2
    assert dataset.name_of(7) == "record 7"
    assert (dataset.image_ids, dataset.category_ids, dataset.set_name) == ((7, 3, 9), (), "old")


def test_label_width_has_room_for_one_object_at_least(tmp_path):
    dataset = RecordDataset(write_old(tmp_path / "old.rec", [[2, 5, *[-1] * 5]]))
    assert (dataset.max_objects, dataset.label_pad_width) == (0, 7)


def test_label_width_suffices_for_void_rows(tmp_path, tools):
    image = tools.encode(tools.picture(64, 48))
    path = write_old(tmp_path / "old.rec", [[2, 5, *CAT, *[-1] * 5]], image)
    dataset = RecordDataset(path)
    iterator = mx.io.ImageDetRecordIter(
        path_imgrec=str(path), batch_size=1, data_shape=(3, 32, 32), label_pad_width=dataset.label_pad_width
    )
    assert iterator.next().label[0].shape == (1, 4 + 12)


def test_old_names_come_from_the_list(tmp_path):
    path = write_old(tmp_path / "old.rec", [[2, 5, *CAT]])
    (tmp_path / "old.lst").write_text("0\t2\t5\t1\t0.1\t0.2\t0.3\t0.4\tJPEGImages/größe 1.jpg\n", "utf-8")
    assert RecordDataset(path).read(0).name == "JPEGImages/größe 1.jpg"


def test_keys_that_repeat_are_counted_anew(tmp_path):
    path = write_old(tmp_path / "old.rec", [[2, 5, *CAT]] * 3, keys=[0, 0, 0])
    assert RecordDataset(path).keys == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[2, 5, *CAT], [2, 6, *CAT, 0]], "record 1: 6 numbers an object, the first record has 5"),
        ([[2, 5, *CAT], [2, 5, np.nan, 0, 0, 1, 1]], "record 1: the label holds nan"),
        ([[2, 5, *CAT], [2, 5, 1, 30, 40, 200, 300]], "record 1: coordinate 300, expected 0 to 1"),
        ([[2, 5, *CAT], [2, 5, 1.5, 0, 0, 1, 1]], "record 1: class id 1.5"),
    ],
)
def test_scan_refuses_labels_that_would_train_wrongly(tmp_path, labels, message):
    dataset = RecordDataset(write_old(tmp_path / "old.rec", labels))
    with pytest.raises(RecordError, match=message):
        dataset.scan()


def test_classification_records_are_refused(tmp_path):
    writer = mx.recordio.MXRecordIO(str(tmp_path / "a.rec"), "w")
    writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, 3.0, 0, 0), b"image"))
    writer.close()
    with pytest.raises(RecordError, match="records for classification"):
        RecordDataset(tmp_path / "a.rec")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dog", "cat"), "the same names in another order"),
        (("cat",), "differ first at id 1, 'dog' in the records and nothing in the model"),
        (("cat", "cow"), "differ first at id 1, 'dog' in the records and 'cow' in the model"),
    ],
)
def test_other_classes_than_the_models_are_refused(packed, names, message):
    dataset = RecordDataset(packed)
    dataset.check_classes(["cat", "dog"])
    with pytest.raises(RecordError, match=f"{message}.*--class-names {','.join(names)}"):
        dataset.check_classes(names)


def test_ids_beyond_the_models_are_refused(tmp_path):
    dataset = RecordDataset(write_old(tmp_path / "old.rec", [[2, 5, *CAT]]))
    dataset.check_classes(["a", "b"])
    with pytest.raises(RecordError, match="class id 1, but the model has 1 "):
        dataset.check_classes(["a"])


def test_changed_or_missing_truth_is_refused(packed):
    path = packed.with_name("train.gt.json")
    text = path.read_text()
    path.write_text(text.replace('"difficult": 1', '"difficult": 0'))
    with pytest.raises(RecordError, match="changed since it was packed"):
        RecordDataset(packed).truth(0)
    path.unlink()
    dataset = RecordDataset(packed)
    assert dataset.read(0).name == "JPEGImages/a.jpg"  # from the list
    with pytest.raises(RecordError, match="train.gt.json: missing"):
        dataset.truth(0)


# ---- files that are not what they should be ----


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"found empty \(0 bytes\)"),
        (b"<!doctype html><html>", "found an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "found a PNG image"),
        (b"PK\x03\x04", "found a zip archive"),
        (b"0\t2\t6\t1", "found text"),
        (b"\x0a\x23\xd7", "found binary data"),
    ],
)
def test_file_that_is_something_else_is_named(tmp_path, data, message):
    path = tmp_path / "a.rec"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=f"a.rec: expected a RecordIO file.*{message}"):
        RecordDataset(path)


def test_missing_file_and_folder_are_errors_with_the_file_that_was_meant(packed):
    for path in (packed.with_suffix(".lst"), packed.with_suffix("")):
        with pytest.raises(RecordError, match="did you mean .*train.rec"):
            RecordDataset(path)
    with pytest.raises(RecordError, match="Is a directory"):
        RecordDataset(packed.parent)


def open_and_scan(path):
    with RecordDataset(path) as dataset:
        dataset.scan()
        return [dataset.read(index).image for index in range(len(dataset))]


@pytest.mark.parametrize("keep", [(".json", ".idx"), (".idx",), ()])
def test_every_cut_is_refused(packed, keep):
    for extension in {".json", ".idx"} - set(keep):
        packed.with_suffix(extension).unlink()
    whole = packed.read_bytes()
    ends = set() if keep else set(np.cumsum(RecordDataset(packed).record_sizes).tolist())
    for length in [*range(0, 200, 3), *range(200, len(whole), 97), len(whole) - 1]:
        if length in ends:  # without index and manifest a whole number of records is a whole file
            continue
        packed.write_bytes(whole[:length])
        with pytest.raises(RecordError):
            open_and_scan(packed)


def test_appended_bytes_are_refused(packed):
    packed.write_bytes(packed.read_bytes() + b"more")
    with pytest.raises(RecordError, match="its manifest train.json says"):
        RecordDataset(packed)
    packed.with_suffix(".json").unlink()
    with pytest.raises(RecordError, match="ends at byte"):
        RecordDataset(packed)
    packed.with_suffix(".idx").unlink()
    with pytest.raises(RecordError, match="cut short"):
        RecordDataset(packed)


def test_damaged_magic_numbers_are_refused(packed):
    whole, offsets = packed.read_bytes(), np.cumsum([0, *RecordDataset(packed).record_sizes])[:-1]
    for offset in offsets:
        packed.write_bytes(whole[:offset] + b"\0" + whole[offset + 1 :])
        with pytest.raises(RecordError, match="train.rec"):
            open_and_scan(packed)


def test_flipped_bytes_are_an_error_or_a_finite_result(packed):
    whole = packed.read_bytes()
    generator = np.random.default_rng(0)
    outcomes = {"error": 0, "read": 0}
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.integers(0, 100)] ^= 1 << generator.integers(0, 8)
        packed.write_bytes(damaged)
        try:
            open_and_scan(packed)
            outcomes["read"] += 1
        except RecordError:
            outcomes["error"] += 1
    assert min(outcomes.values()) > 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the index is empty"),
        ("0\t0\n1\t4\n", "do not fit"),
        ("0\t8\n", "do not fit"),
        ("0\t0\n0\t800\n", "a key twice"),
        ("a\tb\n", "not an index"),
        ("0\n", "not an index"),
        ("<html>", "an HTML page"),
        ("0\t0\n", "its index has 1 records, its manifest 5"),
        ("0\t0\n1\t99999999999999999999999\n", "not an index"),
    ],
)
def test_wrong_index_is_refused(packed, text, message):
    packed.with_suffix(".idx").write_text(text)
    with pytest.raises(RecordError, match=message):
        RecordDataset(packed)


def test_index_of_another_file_is_refused(packed):
    packed.with_suffix(".json").unlink()
    lines = packed.with_suffix(".idx").read_text().splitlines()
    packed.with_suffix(".idx").write_text("\n".join(lines[:-1]))
    with pytest.raises(RecordError, match="belongs to another file"):
        RecordDataset(packed)


def test_lost_index_is_found_again(packed):
    packed.with_suffix(".idx").unlink()
    assert len(RecordDataset(packed)) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a manifest"),
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"class_names": None}, "not complete"),
        ({"files": {}}, "not complete"),
        ({"images": 4}, "its index has 5 records, its manifest 4"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(packed, change, message):
    path = packed.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=message):
        RecordDataset(packed)


def test_manifest_that_is_no_json_is_refused(packed):
    packed.with_suffix(".json").write_text("{")
    with pytest.raises(RecordError, match="not a manifest"):
        RecordDataset(packed)
