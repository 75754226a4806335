"""Event files taken apart: what is dropped is dropped, whole events stay byte for byte, other files are left alone."""

from __future__ import annotations

import struct

import pytest

import common.mx  # noqa: F401 (numpy's old names, for mxboard)
from train.event_files import DamagedEvent, _parse, drop_from, masked_crc32c, next_name, others, own_files

NAME = "events.out.tfevents.1700000000.ssd"
WALL_TIME = b"\x09" + struct.pack("<d", 1.5)


def varint(value: int) -> bytes:
    """Protobuf's variable-length number, of 64 bits where it is negative."""
    value &= (1 << 64) - 1
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def event(step: int | None, summary: bytes | None = b"value") -> bytes:
    """An Event message."""
    message = WALL_TIME + (b"" if step is None else b"\x10" + varint(step))
    return message + (b"" if summary is None else b"\x2a" + varint(len(summary)) + summary)


def record(payload: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    ends = [struct.pack("<I", masked_crc32c(part)) for part in (length, payload)]
    return length + ends[0] + payload + ends[1]


FIRST = record(event(None, None))


def write(folder, *steps: int, tail: bytes = b""):
    path = folder / NAME
    path.write_bytes(FIRST + b"".join(record(event(step)) for step in steps) + tail)
    return path


def test_checksum_is_that_of_mxboard_and_of_the_standard():
    from mxboard.record_writer import masked_crc32c as theirs

    crc = 0xE3069283  # of "123456789": RFC 3720, B.4
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    for data in (b"", b"\0" * 8, bytes(range(256)) * 3):
        assert masked_crc32c(data) == theirs(data)


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**31, 2**40, -1])
def test_step_is_the_one_that_mxboard_wrote(step):
    from mxboard.proto.event_pb2 import Event
    from mxboard.proto.summary_pb2 import Summary

    whole = Event(wall_time=3.5, step=step, summary=Summary(value=[Summary.Value(tag="x", simple_value=1)]))
    assert _parse(whole.SerializeToString()) == (step, True)
    assert _parse(Event(wall_time=3.5, step=step).SerializeToString()) == (step, False)


@pytest.mark.parametrize("payload", [b"\xff", b"\x2a\x05abc", b"\x0b", b"\x09abc", b"\x10" + b"\xff" * 11])
def test_message_that_is_none_is_refused(payload):
    with pytest.raises(DamagedEvent):
        _parse(payload)


def test_events_from_the_step_on_are_dropped_and_the_others_stay_byte_for_byte(tmp_path):
    path = write(tmp_path, 1, 5, 2, 9, 3, 4)
    assert drop_from(path, 4) == 3
    assert path.read_bytes() == FIRST + b"".join(record(event(step)) for step in (1, 2, 3))


def test_file_that_has_nothing_to_drop_is_not_written(tmp_path):
    path = write(tmp_path, 1, 2, 3)
    before = (path.stat().st_ino, path.stat().st_mtime_ns)
    assert drop_from(path, 4) == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_torn_end_is_cut_off_wherever_it_is_torn(tmp_path):
    last = record(event(7))
    for length in range(1, len(last)):
        path = write(tmp_path, 1, 2, tail=last[:length])
        assert drop_from(path, 9) == 0
        assert path.read_bytes() == FIRST + record(event(1)) + record(event(2))


def test_last_event_with_a_changed_byte_is_cut_off(tmp_path):
    last = record(event(7))
    for place in range(len(last)):
        damaged = bytearray(last)
        damaged[place] ^= 0x40
        path = write(tmp_path, 1, tail=bytes(damaged))
        drop_from(path, 9)
        assert path.read_bytes() == FIRST + record(event(1))


def test_zeros_after_a_power_cut_are_cut_off(tmp_path):
    path = write(tmp_path, 1, tail=bytes(4096))
    assert drop_from(path, 9) == 0
    assert path.read_bytes() == FIRST + record(event(1))


def test_file_without_a_value_left_is_removed(tmp_path):
    path = write(tmp_path, 4, 5)
    assert drop_from(path, 4) == 2
    assert not path.exists()
    path.touch()
    assert drop_from(path, 4) == 0
    assert not path.exists()


@pytest.mark.parametrize("content", [b"my notes", b"\0" * 100, b"x" * 5000])
def test_file_of_another_kind_is_left_as_it_is(tmp_path, caplog, content):
    path = tmp_path / NAME
    path.write_bytes(content)
    assert drop_from(path, 0) == 0
    assert path.read_bytes() == content
    assert "not a whole event" in caplog.text


def test_only_files_of_our_own_name_are_ours(tmp_path):
    foreign = ("events.out.tfevents.1700000000.host", "events.out.tfevents.1700000000.host.ssd", "notes.txt")
    for name in (NAME, "events.out.tfevents.1600000000.ssd", *foreign):
        (tmp_path / name).touch()
    assert [path.name for path in own_files(tmp_path)] == ["events.out.tfevents.1600000000.ssd", NAME]
    assert [path.name for path in others(tmp_path)] == list(foreign[:2])
    assert own_files(tmp_path / "missing") == others(tmp_path / "missing") == []


def test_new_file_comes_after_those_that_are_there_whatever_the_clock_says(tmp_path):
    assert next_name(tmp_path) > "events.out.tfevents.1700000000.ssd"
    (tmp_path / "events.out.tfevents.9000000000.ssd").touch()
    assert next_name(tmp_path) == "events.out.tfevents.9000000001.ssd"
