"""demo.py on videos, from flags to files; what is written is read by OpenCV, whose FFmpeg is another one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect import look_video
from detect.command import main
from detect.live import Live
from tests.detect.videos import make_video, number_of, numbered

NTSC = Fraction(30000, 1001)


def run_demo(prefix, *flags):
    return main(["--prefix", str(prefix), "--cpu", "--batch-size", "8", *map(str, flags)])


def by_opencv(path):
    """Return (frames a second, (width, height), [numbers of the frames]) as OpenCV reads them."""
    video, numbers, size = cv2.VideoCapture(str(path)), [], None
    while True:
        fine, pixels = video.read()
        if not fine:
            return video.get(cv2.CAP_PROP_FPS), size, numbers
        size = pixels.shape[1::-1]
        numbers.append(number_of(pixels))


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_500_frames_play_through_with_number_size_and_rate_unchanged(toy_prefix, tmp_path, capsys):
    path = make_video(tmp_path / "clip.mp4", 500, rate=NTSC)
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--video", path, "--out", out) == 0
    rate, size, numbers = by_opencv(out / "clip.mp4")
    assert rate == pytest.approx(float(NTSC), abs=1e-9)
    assert size == (160, 120)
    assert numbers == list(range(500))
    lines = read_lines(out / "clip.jsonl")
    assert [line["frame"] for line in lines] == list(range(500))
    assert lines[499]["time"] == pytest.approx(499 / float(NTSC), abs=1e-4)
    for line in lines:
        (found,) = line["detections"]
        assert found["class_name"] == "red"
        np.testing.assert_allclose(found["box"], [0, 0, 80, 60], atol=0.5)
    results = json.loads((out / "detections.json").read_text())
    assert results["video"] == {
        "file": path,
        "video": "clip.mp4",
        "detections": "clip.jsonl",
        "size": [160, 120],
        "rate": float(NTSC),
        "frames": 500,
        "stated": 500,
    }
    assert (results["images"], results["failed"], results["epoch"]) == ([], [], 3)
    printed = capsys.readouterr()
    assert "500 frames, objects in 500 of them" in printed.out
    assert printed.err == ""
    assert sorted(entry.name for entry in out.iterdir()) == ["clip.jsonl", "clip.mp4", "detections.json"]


@pytest.mark.parametrize(
    ("name", "frames", "size", "codec", "pix_fmt"),
    [
        ("odd.mkv", 12, (641, 479), "mpeg4", "yuv420p"),
        ("one.mp4", 1, (160, 120), "libx264", "yuv420p"),
        ("grey.avi", 9, (160, 120), "ffv1", "gray"),
        ("two.parts.ts", 20, (160, 120), "libx264", "yuv420p"),
    ],
)
def test_videos_of_other_kinds_play_through_too(toy_prefix, tmp_path, name, frames, size, codec, pix_fmt):
    path = make_video(tmp_path / name, frames, size=size, codec=codec, pix_fmt=pix_fmt, rate=NTSC)
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out") == 0
    rate, found, numbers = by_opencv(tmp_path / "out" / f"{Path(name).stem}.mp4")
    assert (rate, found, numbers) == (pytest.approx(float(NTSC), abs=1e-9), size, list(range(frames)))


def test_boxes_and_rate_are_drawn(toy_prefix, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 40)
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "plain") == 0
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "rate", "--show-fps") == 0
    pictures = []
    for file in (path, tmp_path / "plain" / "clip.mp4", tmp_path / "rate" / "clip.mp4"):
        video = cv2.VideoCapture(str(file))
        pictures.append([video.read()[1].astype(int) for _ in range(40)][39])
    source, plain, rate = pictures
    assert np.abs(plain - source)[:62, :82].max() > 80  # the box around the red quarter
    assert np.abs(plain - source)[70:].max() < 40
    assert np.abs(rate - plain)[60:, :100].max() > 80
    assert np.abs(rate - plain)[:60].max() < 40


def test_chosen_detections_and_files_beside_the_video(toy_prefix, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 5)
    out = tmp_path / "out"
    flags = ["--save-results", out / "r.json", "--save-txt", "--save-crop", "--max-det", "1"]
    assert run_demo(toy_prefix, "--video", path, "--out", out, *flags) == 0
    results = json.loads((out / "r.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == [(i, 1) for i in range(5)]
    assert len(list((out / "labels").glob("clip_00000*.txt"))) == 5
    assert len(list((out / "crops" / "red").glob("*.jpg"))) == 5
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "blue", "--classes", "blue") == 0
    assert all(line["detections"] == [] for line in read_lines(tmp_path / "blue" / "clip.jsonl"))


def test_thresholds_by_class_are_taken(toy_prefix, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3)
    file = tmp_path / "thresholds.json"
    for score, count in ((0.9, 1), (0.999999, 0)):
        file.write_text(json.dumps({"format": "ssd-thresholds", "thresholds": {"red": score}}))
        assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out", "--thresh", file) == 0
        lines = read_lines(tmp_path / "out" / "clip.jsonl")
        assert [len(line["detections"]) for line in lines] == [count] * 3
        results = json.loads((tmp_path / "out" / "detections.json").read_text())
        assert results["threshold"] == {"red": score, "green": 0.5, "blue": 0.5}


def test_max_frames_ends_a_video(toy_prefix, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 50)
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out", "--max-frames", "7") == 0
    assert by_opencv(tmp_path / "out" / "clip.mp4")[2] == list(range(7))


def test_video_that_ends_early_gives_what_it_has_a_word_and_exit_code_2(toy_prefix, tmp_path, capsys):
    path = Path(make_video(tmp_path / "clip.avi", 100, codec="mpeg4"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out") == 2
    _, _, numbers = by_opencv(tmp_path / "out" / "clip.mp4")
    assert 10 < len(numbers) < 90
    assert numbers == list(range(len(numbers)))
    error = capsys.readouterr().err
    assert f"clip.avi: ends early: {len(numbers)} frames were read of 100 stated" in error
    failed = json.loads((tmp_path / "out" / "detections.json").read_text())["failed"]
    assert "ends early" in failed[-1]["error"]


def test_many_damaged_frames_are_summed_up(toy_prefix, tmp_path, capsys):
    path = Path(make_video(tmp_path / "clip.mov", 100, codec="mjpeg", pix_fmt="yuvj420p"))
    data = bytearray(path.read_bytes())
    places = [place for place in range(len(data)) if data[place : place + 3] == b"\xff\xd8\xff"]
    for place in places[20:40]:
        data[place : place + 900] = bytes(900)
    path.write_bytes(data)
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 6
    assert all("is damaged" in line for line in lines[:5])
    assert lines[5] == "15 more frames are damaged"
    seen = [line["frame"] for line in read_lines(tmp_path / "out" / "clip.jsonl")]
    assert len(seen) == 80


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--video", "none.mp4"], "none.mp4: video cannot be read (No such file"),
        (["--video", "FOLDER"], "give a folder of pictures by --dir"),
        (["--video", "TEXT"], "not a video that can be read: it is text"),
        (["--video", "rtsp://x/y"], "an address: give it by --url"),
        (["--url", "CLIP"], "give it by --video"),
        (["--url", "rtsp://127.0.0.1:1/x"], "Connection refused"),
        (["--camera", "99"], "camera 99: cannot be opened"),
        (["--video", "CLIP", "--camera", "0"], "one kind of source at a time"),
        (["--video", "CLIP", "--out", "FOLDER"], "is the video to look at: choose another folder"),
        (["--video", "CLIP", "--show"], "--show"),
        (["--video", "CLIP", "--classes", "rde"], "did you mean red"),
        (["--dir", "FOLDER", "--max-frames", "3"], "--max-frames is for --video"),
        (["--dir", "FOLDER", "--show-fps"], "--show-fps is for --video"),
        (["--video", "CLIP", "--port", "3"], "--port is for --serve"),
        (["--video", "CLIP", "--thresh", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_sources_are_one_line_and_exit_code_2(toy_prefix, tmp_path, capfd, monkeypatch, flags, message):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    places = {
        "CLIP": make_video(tmp_path / "clip.mp4", 2),
        "FOLDER": str(tmp_path),
        "TEXT": str(tmp_path / "text.mp4"),
    }
    before = sorted(tmp_path.iterdir())
    flags = [places.get(flag, flag) for flag in flags]
    out = [] if "--out" in flags else ["--out", str(tmp_path / "out")]
    assert run_demo(toy_prefix, *flags, *out) == 2
    error = capfd.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_source_is_not_overwritten_through_a_link(toy_prefix, tmp_path, capsys):
    path = Path(make_video(tmp_path / "clip.mp4", 2))
    (tmp_path / "link").symlink_to(tmp_path)
    before = path.read_bytes()
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "link") == 2
    assert path.read_bytes() == before


def endless():
    """A source of numbered frames that does not end by itself."""

    def connect():
        def frames():
            for index in range(1000):
                yield numbered(index)
                time.sleep(0.02)

        return 50, frames()

    return Live("camera 0", connect)


def test_live_source_is_written_at_the_times_at_which_it_came(toy_prefix, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(look_video, "open_camera", lambda number: endless())
    out = tmp_path / "out"
    assert run_demo(toy_prefix, "--camera", "0", "--out", out, "--max-frames", "20") == 0
    lines = read_lines(out / "camera-0.jsonl")
    assert len(lines) == 20
    assert by_opencv(out / "camera-0.mp4")[2] == [line["frame"] for line in lines]
    assert "came while the network computed" in capsys.readouterr().out


def test_q_in_the_window_ends_and_keeps_what_was_written(toy_prefix, tmp_path, monkeypatch):
    shown = []

    class Window:
        def show(self, pixels, *, wait):
            assert not wait
            shown.append(pixels)
            return len(shown) < 4

    monkeypatch.setattr("detect.command.require_window", lambda: None)
    monkeypatch.setattr(look_video, "Window", Window)
    path = make_video(tmp_path / "clip.mp4", 30)
    assert run_demo(toy_prefix, "--video", path, "--out", tmp_path / "out", "--show") == 0
    assert by_opencv(tmp_path / "out" / "clip.mp4")[2] == [0, 1, 2, 3]


def test_video_is_replaced_by_the_same_name_only_where_the_demo_wrote_it(toy_prefix, tmp_path, capsys):
    path, out = make_video(tmp_path / "clip.mov", 3), tmp_path / "out"
    for _ in range(2):
        assert run_demo(toy_prefix, "--video", path, "--out", out) == 0
    other = tmp_path / "videos"
    other.mkdir()
    (other / "clip.mp4").write_bytes(b"another")
    assert run_demo(toy_prefix, "--video", path, "--out", other) == 2
    assert "clip.mp4 is there already and the demo did not write it" in capsys.readouterr().err
    assert [entry.name for entry in other.iterdir()] == ["clip.mp4"]
    assert (other / "clip.mp4").read_bytes() == b"another"


def test_results_file_under_a_name_of_the_videos_is_refused(toy_prefix, tmp_path, capsys):
    path, out = make_video(tmp_path / "clip.mp4", 3), tmp_path / "out"
    for name in ("clip.jsonl", "clip.mp4", "detections.json"):
        assert run_demo(toy_prefix, "--video", path, "--out", out, "--save-results", out / name) == 2
        assert "the demo writes that file itself" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are of Unix")
def test_pipe_is_told_in_place_of_waiting_for_it(toy_prefix, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert run_demo(toy_prefix, "--video", tmp_path / "pipe.mp4", "--out", tmp_path / "out") == 2
    assert "a pipe or device, not a file" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names elsewhere are Unicode")
def test_name_that_is_no_text_is_looked_at(toy_prefix, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    os.rename(path, odd)
    assert run_demo(toy_prefix, "--video", odd, "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["video"]["frames"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_a_stream_opens_ends_at_once(toy_prefix, tmp_path, project_root, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        command = [
            sys.executable,
            "demo.py",
            "--prefix",
            toy_prefix,
            "--cpu",
            "--out",
            str(tmp_path / "out"),
            "--url",
            url,
        ]
        process = subprocess.Popen(command, cwd=project_root, stderr=subprocess.PIPE)
        silent.settimeout(60)
        silent.accept()[0].recv(10)  # now it waits for an answer, for 10 seconds
        sent = time.monotonic()
        process.send_signal(number)
        error = process.communicate(timeout=60)[1]
        assert time.monotonic() - sent < 8
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[number]
    assert b"Traceback" not in error


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("video", "SIGINT"),
        ("pictures", "SIGINT"),
        ("video", "SIGTERM"),
        ("video", "SIGHUP"),
        ("pictures", "SIGTERM"),
    ],
)
def test_signal_finishes_what_is_begun(toy_prefix, tmp_path, project_root, kind, number):
    number = getattr(signal, number)
    out = tmp_path / "out"
    if kind == "video":
        flags, begun = ["--video", make_video(tmp_path / "clip.mp4", 900)], ".clip.jsonl.*"
    else:
        (tmp_path / "pictures").mkdir()
        for index in range(900):
            cv2.imwrite(str(tmp_path / "pictures" / f"{index:03}.jpg"), numbered(index, (640, 480)))
        flags, begun = ["--dir", str(tmp_path / "pictures")], "*.jpg"
    command = [sys.executable, "demo.py", "--prefix", toy_prefix, "--cpu", "--out", str(out), *flags]
    process = subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not [
        f for f in out.glob(begun) if kind != "video" or f.stat().st_size
    ]:
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"stopped" in error
    assert b"Traceback" not in error
    results = json.loads((out / "detections.json").read_text())
    assert not list(out.glob(".*"))
    if kind == "video":
        _, _, numbers = by_opencv(out / "clip.mp4")
        assert numbers == list(range(results["video"]["frames"]))
        assert 0 < len(numbers) < 900
    else:
        assert 0 < len(results["images"]) < 900
        assert {entry["picture"] for entry in results["images"]} == {path.name for path in out.glob("*.jpg")}


def test_script_on_damaged_video_and_missing_camera_prints_no_noise(toy_prefix, tmp_path, project_root):
    path = Path(make_video(tmp_path / "clip.mp4", 30))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 200] = bytes(range(200))
    path.write_bytes(data)
    for flags, prefix in ((["--video", str(path)], str(path)), (["--camera", "99"], "error: camera 99")):
        command = [
            sys.executable,
            "demo.py",
            "--prefix",
            toy_prefix,
            "--cpu",
            "--out",
            str(tmp_path / "o"),
            *flags,
        ]
        done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr
        assert all(line.startswith(prefix) for line in done.stderr.strip().splitlines())


def test_memory_does_not_grow_with_the_video(toy_prefix, tmp_path, project_root):
    code = (
        "import resource, sys\nfrom detect.command import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for frames in (60, 400):
        path = make_video(tmp_path / f"{frames}.mp4", frames, size=(960, 540))
        command = [sys.executable, "-c", code, "--prefix", toy_prefix, "--cpu", "--video", path]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "out")],
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.rsplit("peak ", 1)[1]) // 1024)  # MB on Linux
    assert peaks[1] - peaks[0] < 150  # 340 more frames are 530 MB of pixels
