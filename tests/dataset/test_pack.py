import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from common import images
from common.errors import AnnotationError, ConfigError
from common.files import sha256
from common.mx import mx
from common.structures import Sample
from dataset.annotations import AnnotationSet
from dataset.manifest import record_paths
from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.record_io import MAGIC
from dataset.records import RecordDataset
from dataset.scenes import write_scenes
from dataset.voc import read_voc

FILES = (".rec", ".idx", ".lst", ".gt.json", ".skipped.csv", ".json")


def contents(target):
    return {path.name: path.read_bytes() for path in record_paths(target).all()}


def test_mxnet_reads_the_records_back(packed, voc):
    reader = mx.recordio.MXIndexedRecordIO(str(packed.with_suffix(".idx")), str(packed), "r")
    assert reader.keys == [0, 1, 2, 3, 4]
    header, image = mx.recordio.unpack(reader.read_idx(0))
    assert (header.flag, header.id) == (14, 0)
    expected = [2, 6, 1, 4 / 64, 4 / 48, 30 / 64, 40 / 48, 0, 0, 9 / 64, 7 / 48, 1, 1, 1]
    np.testing.assert_array_equal(header.label, np.float32(expected))
    assert image == (voc.root / "JPEGImages" / "a.jpg").read_bytes()
    assert mx.recordio.unpack(reader.read_idx(2))[0].label.tolist() == [2, 6, -1, -1, -1, -1, -1, -1]


def test_mxnets_training_iterator_gives_the_labels(packed):
    arguments = {"batch_size": 5, "data_shape": (3, 32, 32), "label_width": -1, "preprocess_threads": 1}
    iterator = mx.io.ImageDetRecordIter(
        path_imgrec=str(packed),
        label_pad_width=14,
        label_pad_value=-1,
        verbose=False,
        shuffle=False,
        **arguments,
    )
    rows = iterator.next().label[0].asnumpy()[:, 6:].reshape(5, 2, 6)
    reader = mx.recordio.MXIndexedRecordIO(str(packed.with_suffix(".idx")), str(packed), "r")
    for key in range(5):
        label = mx.recordio.unpack(reader.read_idx(key))[0].label[2:].reshape(-1, 6)
        np.testing.assert_array_equal(rows[key][: len(label)], label)
        assert (rows[key][len(label) :] == -1).all()


def test_list_has_mxnet_ssds_form_and_full_precision(packed):
    lines = [line.split("\t") for line in packed.with_suffix(".lst").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert [line[-1] for line in lines] == [f"JPEGImages/{name}.jpg" for name in "abcde"]
    assert lines[0][1:3] == ["2", "6"]
    values = np.array([float(value) for value in lines[0][1:-1]], np.float32)
    reader = mx.recordio.MXIndexedRecordIO(str(packed.with_suffix(".idx")), str(packed), "r")
    np.testing.assert_array_equal(values, mx.recordio.unpack(reader.read_idx(0))[0].label)


def test_image_that_holds_the_magic_number_survives(voc, tools, tmp_path):
    magic = MAGIC.to_bytes(4, "little")
    data = tools.encode(tools.picture(64, 48)) + magic * 3 + b"xyz" + magic
    voc.add("a", [("ant", 1, 1, 9, 9)], image=data).pack(tmp_path / "t")
    reader = mx.recordio.MXIndexedRecordIO(str(tmp_path / "t.idx"), str(tmp_path / "t.rec"), "r")
    assert mx.recordio.unpack(reader.read_idx(0))[1] == data


def test_truth_is_a_coco_file(packed, capsys):
    coco = COCO(str(packed.with_name("train.gt.json")))
    assert [category["name"] for category in coco.loadCats([1, 2])] == ["cat", "dog"]
    assert coco.loadImgs([2])[0] == {
        **{"id": 2, "record": 1, "name": "b", "file_name": "JPEGImages/b.jpg", "width": 100, "height": 50}
    }
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [entry["bbox"] for entry in found] == [[4, 4, 26, 36], [9, 7, 55, 41]]
    assert [entry["difficult"] for entry in found] == [0, 1]
    assert [entry["area"] for entry in found] == [26 * 36, 55 * 41]


def test_manifest_counts(packed):
    manifest = json.loads(packed.with_suffix(".json").read_text())
    assert (manifest["class_names"], manifest["category_ids"]) == (["cat", "dog"], [1, 2])
    assert (manifest["images"], manifest["images_without_objects"], manifest["objects"]) == (5, 1, 6)
    assert manifest["objects_by_class"] == {"cat": 3, "dog": 3}
    assert (manifest["difficult"], manifest["widest_label"]) == (1, 2)
    assert manifest["image_width"] == {"min": 64, "median": 64.0, "max": 100}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_same_input_and_seed_give_the_same_bytes(packed, voc, tmp_path, workers):
    for folder, options in (("x", {"workers": workers}), ("y", {"workers": 2})):
        voc.pack(tmp_path / folder / "t", shuffle=True, seed=3, **options)
    assert contents(tmp_path / "x" / "t") == contents(tmp_path / "y" / "t")
    assert b"tmp" not in (tmp_path / "x" / "t.json").read_bytes()
    voc.pack(tmp_path / "z" / "t", shuffle=True, seed=4)
    assert contents(tmp_path / "x" / "t")["t.lst"] != contents(tmp_path / "z" / "t")["t.lst"]


def test_shrunk_images_keep_the_truth_in_original_pixels(voc, tmp_path):
    objects = [("ant", 11, 21, 110, 80), ("ant", 1, 1, 400, 200, "<difficult>1</difficult>")]
    voc.add("a", objects, size=(400, 200)).add("b", [("ant", 1, 1, 9, 9)])
    manifest = voc.pack(tmp_path / "small" / "t", resize_short=50)
    voc.pack(tmp_path / "whole" / "t")
    assert manifest["image_width"] == {"min": 64, "median": 82.0, "max": 100}  # of the packed images
    assert manifest["image_height"] == {"min": 48, "median": 49.0, "max": 50}
    small, whole = (contents(tmp_path / folder / "t") for folder in ("small", "whole"))
    assert small["t.gt.json"] == whole["t.gt.json"]
    assert small["t.lst"] == whole["t.lst"]  # labels are normalised
    dataset = RecordDataset(tmp_path / "small" / "t.rec")
    assert images.decode(dataset.read(0).image, "x").shape == (50, 100, 3)
    assert dataset.truth(0).size == (400, 200)
    assert dataset.truth(0).boxes.tolist() == [[10, 20, 110, 80], [0, 0, 400, 200]]


def test_box_that_reaches_out_by_rounding_is_cut_in_the_label_alone(tools, tmp_path):
    (tmp_path / "a.jpg").write_bytes(tools.encode(tools.picture(64, 48)))
    sample = Sample(tmp_path / "a.jpg", (64, 48), [[-0.01, 4, 64.25, 48]], [0], [False])
    pack(AnnotationSet([sample], ("ant",), []), tmp_path / "t")
    dataset = RecordDataset(tmp_path / "t.rec")
    assert dataset.truth(0).boxes.tolist() == [[-0.01, 4, 64.25, 48]]
    np.testing.assert_array_equal(dataset.read(0).label, np.float32([[0, 0, 4 / 48, 1, 1, 0]]))


def test_old_packs_with_a_truth_in_packed_pixels_load(packed):
    """A truth as it was written until now: no digits cut, the packed image's size, no category ids in the manifest."""
    truth, manifest = packed.with_name("train.gt.json"), packed.with_suffix(".json")
    old = json.loads(truth.read_text())
    old["images"][0].update(width=32, height=24)
    old["annotations"][0].update(bbox=[2, 2, 13, 18], area=13 * 18.0)
    truth.write_text(json.dumps(old))
    told = json.loads(manifest.read_text())
    del told["category_ids"]
    told["files"]["truth"] = {"bytes": truth.stat().st_size, "sha256": sha256(truth)}
    manifest.write_text(json.dumps(told))
    dataset = RecordDataset(packed)
    assert (dataset.truth(0).size, dataset.truth(0).boxes[0].tolist()) == ((32, 24), [2, 2, 15, 20])
    assert dataset.category_ids == (1, 2)


def test_more_than_two_hundred_objects_are_packed(voc, tmp_path):
    boxes = [("ant", x, y, x + 3, y + 3) for x in range(1, 60, 3) for y in range(1, 45, 3)]
    manifest = voc.add("a", boxes).pack(tmp_path / "t")
    assert manifest["widest_label"] == len(boxes) == 300


def test_left_out_things_are_counted_and_listed(voc, tmp_path):
    voc.add("ok", [("ant", 1, 1, 9, 9), ("ant", 5, 5, 5, 5), ("bee", 100, 1, 120, 9)])
    voc.add("allbad", [("ant", 9, 1, 2, 9)]).add("cut", [("ant", 1, 1, 9, 9)], image=b"\xff\xd8\xff")
    voc.add("empty").add("other", [("cow", 1, 1, 9, 9)])
    manifest = voc.pack(tmp_path / "t", class_names=["ant", "bee"])
    assert (manifest["images"], manifest["images_without_objects"]) == (3, 2)
    assert manifest["skipped"] == {
        "images": 2,
        "objects": 4,
        "reasons": {
            **{"corrupt image": 1, "no object left": 1, "inverted box": 1, "degenerate box": 1},
            **{"outside the image": 1, "other class": 1},
        },
        "kept": {},
    }
    lines = (tmp_path / "t.skipped.csv").read_text().splitlines()
    assert "ok,Annotations/ok.xml,1,degenerate box,5 5 5 5,object left out" in lines
    assert "ok,Annotations/ok.xml,2,outside the image,99 0 120 9,object left out" in lines
    assert "allbad,Annotations/allbad.xml,,no object left,,image left out" in lines


def test_images_without_objects_can_be_left_out(voc, tmp_path):
    manifest = voc.add("a", [("ant", 1, 1, 9, 9)]).add("b").pack(tmp_path / "t", true_negative=False)
    assert (manifest["images"], manifest["skipped"]["reasons"]) == (1, {"no objects": 1})


def test_difficult_objects_can_stay_out_of_the_labels_but_not_of_the_truth(voc, tmp_path):
    voc.add("a", [("ant", 1, 1, 9, 9, "<difficult>1</difficult>"), ("ant", 9, 9, 20, 20)])
    manifest = voc.pack(tmp_path / "t", keep_difficult=False)
    assert (manifest["objects"], manifest["difficult"], manifest["widest_label"]) == (1, 0, 1)
    assert len(json.loads((tmp_path / "t.gt.json").read_text())["annotations"]) == 2


def test_strict_stops_and_writes_nothing(voc, tmp_path):
    voc.add("a", [("ant", 1, 1, 9, 9)]).add("b", [("ant", 9, 1, 2, 9)])
    with pytest.raises(AnnotationError, match=r"b.xml, object 0: inverted box"):
        voc.pack(tmp_path / "out" / "t", strict=True)
    (voc.root / "JPEGImages" / "a.jpg").write_bytes(b"cut")
    with pytest.raises(AnnotationError, match=r"a.xml: corrupt image"):
        pack(
            AnnotationSet(voc.read().samples[:1], ("ant",), []),
            tmp_path / "out" / "t",
            options=PackOptions(strict=True),
        )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_nothing_to_pack_is_an_error(voc, tmp_path):
    voc.add("a", [("ant", 9, 1, 2, 9)])
    with pytest.raises(AnnotationError, match="no image can be packed; the first problem: .*inverted"):
        voc.pack(tmp_path / "t")
    with pytest.raises(AnnotationError, match="the image sets are empty"):
        pack(AnnotationSet([], ("ant",), []), tmp_path / "t")
    assert not list(tmp_path.glob("*t.*"))


@pytest.mark.parametrize("extension", FILES)
def test_files_of_another_are_not_written_over(voc, tmp_path, extension):
    voc.add("a", [("ant", 1, 1, 9, 9)])
    (tmp_path / f"t{extension}").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=f"t{extension}: it exists and was not written .*--overwrite"):
        voc.pack(tmp_path / "t")
    assert (tmp_path / f"t{extension}").read_bytes() == b"precious"
    annotations = voc.read()
    pack(annotations, tmp_path / "t", overwrite=True)
    pack(annotations, tmp_path / "t")  # its own output may be replaced


def test_unwritable_target_is_a_config_error(voc, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        voc.add("a", [("ant", 1, 1, 9, 9)]).pack(tmp_path / "file" / "t")


@pytest.mark.parametrize("options", [{"quality": 0}, {"quality": 101}, {"resize_short": 5}, {"workers": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError):
        PackOptions(**options)


def test_a_killed_run_leaves_the_old_records_readable(packed, voc, monkeypatch):
    before = contents(packed)
    monkeypatch.setattr(images, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        voc.pack(packed.with_suffix(".lst"))
    assert contents(packed) == before
    assert len(list(packed.parent.iterdir())) == len(FILES)


def test_full_disk_is_a_config_error_and_keeps_the_old_records(packed, voc, monkeypatch):
    def no_space(_):
        raise OSError(28, "No space left on device")

    before = contents(packed)
    monkeypatch.setattr("dataset.pack.frame_record", no_space)
    with pytest.raises(ConfigError, match=r"train.rec: cannot be written \(No space left on device\)"):
        voc.pack(packed)
    assert contents(packed) == before
    assert len(list(packed.parent.iterdir())) == len(FILES)


def test_numbers_of_images_do_not_depend_on_the_order_of_packing(tmp_path):
    """Saved results name images by these numbers: packed again with another seed, they must mean the same images."""
    write_scenes(tmp_path / "scenes", 6, seed=1, size=(64, 64), set_name="train", empty_share=0.0)
    annotations = read_voc(tmp_path / "scenes", ["train"])
    numbers = []
    for seed in (0, 1):
        pack(annotations, tmp_path / f"{seed}.lst", options=PackOptions(seed=seed))
        truth = json.loads((tmp_path / f"{seed}.gt.json").read_text())
        numbers.append({image["name"]: image["id"] for image in truth["images"]})
    assert numbers[0] == numbers[1]
    assert sorted(numbers[0].values()) == [1, 2, 3, 4, 5, 6]
    assert sorted(numbers[0], key=numbers[0].get) == sorted(numbers[0])
