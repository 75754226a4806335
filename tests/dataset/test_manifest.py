from pathlib import Path

import pytest

from dataset.manifest import record_paths


@pytest.mark.parametrize("target", ["x", "x.lst", "x.rec", "x.idx", "x.json", "x.gt.json"])
def test_files_are_named_after_the_target(target):
    paths = record_paths(Path("a/records") / target)
    names = ["x.rec", "x.idx", "x.lst", "x.gt.json", "x.skipped.csv", "x.json"]
    assert paths.all() == [Path("a/records") / name for name in names]


def test_other_dots_and_rec_in_the_folder_stay():
    assert record_paths("data/records/voc.07").rec == Path("data/records/voc.07.rec")
    assert record_paths("data/records/voc.07.rec").idx == Path("data/records/voc.07.idx")
    assert record_paths(".rec").rec == Path(".rec.rec")
