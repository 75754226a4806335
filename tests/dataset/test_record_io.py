import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RecordError
from common.mx import mx
from dataset.record_io import RecordFile, frame_record, pack_record, read_label, unpack_record

MAGIC = struct.pack("<I", 0xCED7230A)
pieces = st.lists(
    st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(b"\x0a\x23"), st.just(b"abcd")), max_size=8
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces.map(b"".join), min_size=1, max_size=4))
def test_frames_equal_mxnets_and_read_back(tmp_path_factory, payloads):
    folder = tmp_path_factory.mktemp("rec")
    theirs = mx.recordio.MXRecordIO(str(folder / "theirs.rec"), "w")
    for payload in payloads:
        theirs.write(payload)
    theirs.close()
    ours = b"".join(frame_record(payload) for payload in payloads)
    assert ours == (folder / "theirs.rec").read_bytes()
    file, offset = RecordFile(folder / "theirs.rec"), 0
    for payload in payloads:
        assert file.payload(offset) == payload
        offset = file.end(offset)
    assert offset == file.size
    file.close()


def test_record_equals_mxnets_pack():
    label = np.array([2, 6, 1, 0.1, 0.2, 0.3, 0.4, 0], np.float32)
    header = mx.recordio.IRHeader(0, label, 17, 0)
    assert pack_record(17, label.tobytes(), b"image") == mx.recordio.pack(header, b"image")
    raw = unpack_record(mx.recordio.pack(header, b"image"), "x")
    assert (raw.key, raw.label, raw.image) == (17, label.tobytes(), b"image")


@pytest.mark.parametrize("label", [struct.pack("<f", 1) * 3, struct.pack("<f", 1) * 5000, MAGIC * 3])
def test_label_is_read_without_the_image(tmp_path, label):
    path = tmp_path / "a.rec"
    path.write_bytes(frame_record(pack_record(5, label, b"x" * 10000)))
    raw = read_label(RecordFile(path), 0, "x")
    assert (raw.key, raw.label, raw.image) == (5, label, b"")


def test_too_long_record_is_refused():
    class Long(bytes):
        def __len__(self):
            return 1 << 29

    with pytest.raises(RecordError, match="resize-short"):
        frame_record(Long())


@pytest.mark.parametrize("floats", [6, 10**9, 2**32 - 1])
def test_label_longer_than_the_record_is_refused(tmp_path, floats):
    payload = struct.pack("<IfQQ", floats, 0, 1, 0) + b"x" * 20
    with pytest.raises(RecordError, match=f"label should have {floats} numbers"):
        unpack_record(payload, "x")
    path = tmp_path / "a.rec"
    path.write_bytes(frame_record(payload))
    with pytest.raises(RecordError, match=f"label should have {floats} numbers"):
        read_label(RecordFile(path), 0, "x")


def test_record_shorter_than_a_header_is_refused(tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(frame_record(b"short"))
    with pytest.raises(RecordError, match="a header alone has 24"):
        read_label(RecordFile(path), 0, "x")


def test_every_cut_is_noticed(tmp_path):
    whole = frame_record(b"abcdefgh" + MAGIC + b"xyz")
    path = tmp_path / "a.rec"
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError):
            RecordFile(path).payload(0)


def test_parts_out_of_turn_are_refused(tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(MAGIC + struct.pack("<I", 3 << 29 | 4) + b"abcd")
    with pytest.raises(RecordError, match="out of turn"):
        RecordFile(path).payload(0)
