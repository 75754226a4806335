"""Cameras and streams: the newest frame, time limits, and streams that break off."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from common.errors import ConfigError, ImageError
from detect import live
from detect.detector import Detector
from detect.live import Live, open_camera, open_stream
from detect.video import Video, watch
from detect.video_container import printable_url
from tests.detect.videos import make_video, number_of, numbered


@contextlib.contextmanager
def serving(handler):
    """Serve HTTP on this computer; gives the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Files(http.server.SimpleHTTPRequestHandler):
    """Gives files, and does not talk about it."""

    def log_message(self, *args):
        """Say nothing."""


def jpegs(handler, count: int, pause: float = 0.02) -> None:
    """Answer as network cameras do: one JPEG after the other."""
    import cv2

    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for index in range(count):
            data = cv2.imencode(".jpg", numbered(index)[:, :, ::-1])[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")
            handler.wfile.flush()
            time.sleep(pause)


@pytest.fixture
def silent():
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        yield listening.getsockname()[1]


def paced(count: int, pause: float):
    """Return a source of numbered frames, one every `pause` seconds."""

    def connect():
        def frames():
            for index in range(count):
                if index:
                    time.sleep(pause)
                yield numbered(index)

        return 25.0, frames()

    return connect


def look_at(source, pause: float = 0.0) -> tuple[list, str]:
    """Take frames until the source breaks off, so slowly; return them and what it says."""
    seen = []
    try:
        for frame in source:
            seen.append(frame)
            time.sleep(pause)
    except ImageError as error:
        return seen, str(error)
    return seen, ""


def test_slow_looker_sees_the_newest_frame():
    with Live("test", paced(40, 0.02)) as source:
        seen, error = look_at(source, 0.15)
    assert "ended; 40 frames came" in error
    assert [number_of(frame.pixels) for frame in seen] == [frame.index for frame in seen]
    steps = np.diff([frame.index for frame in seen])
    assert len(seen) < 15
    assert (steps > 0).all()
    assert steps.max() > 2
    assert source.dropped == 40 - len(seen)


def test_quick_looker_sees_every_frame_once():
    sources = []

    def connect():
        def frames():
            for index in range(10):
                while index and (not sources or sources[0].frames < index):
                    time.sleep(0.001)
                yield numbered(index)

        return 25.0, frames()

    with Live("test", connect) as source:
        sources.append(source)
        seen, error = look_at(source)
    assert [frame.index for frame in seen] == list(range(10))
    assert source.dropped == 0
    assert "ended" in error


def test_watching_a_live_source_finds_objects(toy):
    with Live("test", paced(1000, 0.02)) as source:
        seen = list(itertools.islice(watch(Detector.from_saved(toy), source), 4))
    assert [found.name(0) for _, found in seen] == ["red"] * 4
    assert {found.size for _, found in seen} == {(160, 120)}
    assert seen[3][0].index >= 3


def test_stopping_ends_a_source_that_gives_nothing_more():
    stop = threading.Event()

    def connect():
        def frames():
            yield numbered(0)
            stop.wait(20)
            yield numbered(1)

        return None, frames()

    with Live("test", connect) as source:
        threading.Timer(0.3, source.stop).start()
        started = time.monotonic()
        assert [frame.index for frame in source] == [0]
        assert time.monotonic() - started < 5
        stop.set()


def test_source_that_breaks_off_is_opened_again_a_bounded_number_of_times(monkeypatch):
    monkeypatch.setattr(live, "_PAUSES", (0.01,))
    connections = []

    def connect():
        connections.append(len(connections))
        if len(connections) > 2:
            raise ImageError("refused")

        def frames():
            for _ in range(3):
                yield numbered(len(connections))
                time.sleep(0.05)
            raise ImageError("broke off")

        return 25, frames()

    with Live("test", connect, attempts=3) as source:
        seen = []
        with pytest.raises(ImageError, match="refused; opened again 3 times in vain; 6 frames came"):
            seen.extend(number_of(frame.pixels) for frame in source)
    assert sorted(set(seen)) == [1, 2]
    assert len(connections) == 2 + 3


def test_missing_camera_is_told_in_one_line_without_opencvs_words():
    code = (
        "from common.errors import ImageError\nfrom detect.live import open_camera\n"
        "try:\n    open_camera(99)\nexcept ImageError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("camera 99: cannot be opened: ")
    assert done.stderr == ""


class FakeCamera:
    """OpenCV's VideoCapture with three pictures."""

    def __init__(self, number):
        self._left, self.released = 3, False

    def isOpened(self):
        return True

    def set(self, *_):
        return True

    def get(self, _):
        return 30.0

    def read(self):
        self._left -= 1
        time.sleep(0.05)
        return (True, numbered(7)[:, :, ::-1]) if self._left >= 0 else (False, None)

    def release(self):
        self.released = True


def test_camera_that_is_pulled_out_ends_with_a_word(monkeypatch):
    monkeypatch.setattr(live.cv2, "VideoCapture", FakeCamera)
    with open_camera(0) as source:
        assert (source.size, source.rate) == ((160, 120), 30)
        seen, error = look_at(source)
    assert "camera 0: gives no more pictures" in error
    assert "3 frames came" in error
    for frame in seen:
        assert number_of(frame.pixels) == 7
        np.testing.assert_array_equal(frame.pixels[0, 0], (255, 0, 0))


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_file_at_an_address_is_read_whole(tmp_path, name):
    make_video(tmp_path / name, 60)
    with serving(functools.partial(Files, directory=str(tmp_path))) as address:
        with open_stream(f"{address}/{name}") as video:
            assert isinstance(video, Video)
            assert [number_of(frame.pixels) for frame in video] == list(range(60))
        with pytest.raises(ImageError, match="404"):
            open_stream(f"{address}/b.mp4")


def test_network_camera_is_live_and_opened_again_when_it_breaks_off(monkeypatch):
    monkeypatch.setattr(live, "_PAUSES", (0.01,))
    asked = []

    class Camera(Files):
        def do_GET(self):
            asked.append(self.path)
            if len(asked) > 2:
                self.send_error(503)
            else:
                jpegs(self, 40)

    with serving(Camera) as address, open_stream(f"{address}/live", attempts=2, timeout=5) as source:
        assert isinstance(source, Live)
        seen = []
        with pytest.raises(ImageError, match="opened again 2 times in vain"):
            seen.extend(number_of(frame.pixels) for frame in source)
    assert len(asked) == 4
    assert len(seen) > 10
    assert max(seen) < 40


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_port_that_does_not_answer_is_given_up_in_time(silent, scheme):
    started = time.monotonic()
    with pytest.raises(ImageError, match="no answer within 1 s: check the address"):
        open_stream(f"{scheme}://127.0.0.1:{silent}/x", timeout=1)
    assert time.monotonic() - started < 10


def test_stream_that_falls_silent_is_given_up_in_time():
    class Camera(Files):
        def do_GET(self):
            jpegs(self, 12, 0.01)
            time.sleep(4)

    with serving(Camera) as address, open_stream(f"{address}/live", attempts=0, timeout=1) as source:
        assert "silent for 1 s" in look_at(source)[1]


def test_closed_port_is_told_at_once_and_passwords_are_not(silent):
    with pytest.raises(ImageError, match=r"rtsp://\*\*\*@127\.0\.0\.1:1/x: Connection refused") as caught:
        open_stream("rtsp://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_what_is_no_address_is_told(tmp_path):
    path = make_video(tmp_path / "a.mp4", 1)
    with pytest.raises(ConfigError, match="expected rtsp://.*give it by --video"):
        open_stream(path)
    with pytest.raises(ConfigError, match="--url file:///etc/passwd: expected rtsp://"):
        open_stream("file:///etc/passwd")


def test_any_error_of_a_source_ends_it_with_a_word():
    def connect():
        def frames():
            yield numbered(0)
            raise MemoryError("no room")

        return 25, frames()

    seen, error = look_at(Live("camera 0", connect))
    assert "camera 0: cannot be read on: MemoryError: no room" in error


def test_what_may_be_secret_in_an_address_is_not_printed():
    assert printable_url("rtsp://me:pw@cam/x?token=abc&b=?c") == "rtsp://***@cam/x?***"
    assert printable_url("http://cam/x.mp4") == "http://cam/x.mp4"
