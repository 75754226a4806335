"""Videos as frames, and frames as videos; read back by OpenCV, whose FFmpeg is another one than PyAV's."""

from __future__ import annotations

import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from common.errors import ConfigError, DependencyError, ImageError
from detect.detector import Detector
from detect.look_ahead import read_ahead
from detect.video import read_video, watch
from detect.video_writer import VideoWriter
from tests.detect.videos import make_video, number_of, numbered

NTSC = Fraction(30000, 1001)


def by_opencv(path):
    """Return (frames a second, [pixels]) as OpenCV reads them."""
    video, frames = cv2.VideoCapture(str(path)), []
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    while True:
        fine, pixels = video.read()
        if not fine:
            return video.get(cv2.CAP_PROP_FPS), frames
        frames.append(pixels[:, :, ::-1])


def errors_and_frames(path):
    """Read a damaged video to its end."""
    errors = []
    with read_video(path, on_error=errors.append) as video:
        frames = list(video)
    return [str(error) for error in errors], frames, video


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mkv", "libx264", "yuv420p"),
        ("ts", "libx264", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("mp4", "libx264", "gray"),
        ("mov", "mjpeg", "yuvj420p"),
    ],
)
@pytest.mark.parametrize("rate", [NTSC, Fraction(25)])
def test_every_frame_comes_once_in_order_at_its_time(tmp_path, ending, codec, pix_fmt, rate):
    path = make_video(tmp_path / f"a.{ending}", 60, rate=rate, codec=codec, pix_fmt=pix_fmt)
    with read_video(path) as video:
        assert (video.size, video.rate, video.count, video.position) == ((160, 120), rate, 60, 0)
        frames = []
        for frame in video:
            frames.append(frame)
            assert video.position == len(frames)
    assert [frame.index for frame in frames] == list(range(60))
    assert [number_of(frame.pixels) for frame in frames] == list(range(60))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / float(rate), atol=1e-3)
    assert frames[0].pixels.shape == (120, 160, 3)
    assert (video.frames, video.broken) == (60, 0)


def test_pixels_are_opencvs(tmp_path):
    path = make_video(tmp_path / "a.mp4", 12)
    with read_video(path) as video:
        for frame, theirs in zip(video, by_opencv(path)[1]):
            assert (
                np.abs(frame.pixels.astype(int) - theirs).max() <= 4
            )  # two releases of FFmpeg round differently


def test_declared_colours_are_taken_as_such(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709
        luma, blue, red = 78, 124, 197  # (200, 60, 60) by the formula of BT.709, limited range
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (luma, blue, red)):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    y, u, v = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    expected = 255 * np.array([y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u])
    with read_video(path) as video:
        np.testing.assert_allclose(next(iter(video)).pixels[30, 30], expected, atol=3)


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), -1), ((0, -1, 1, 0), 1), ((-1, 0, 0, -1), 2)],
)
def test_video_of_a_turned_telephone_is_upright(tmp_path, matrix, turns):
    path = Path(make_video(tmp_path / "a.mp4", 3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, ids, layer, volume: then the matrix
    for place, value in zip((0, 4, 12, 16), matrix):
        data[at + place : at + place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    theirs = by_opencv(path)[1][0]
    with read_video(path) as video:
        pixels = next(iter(video)).pixels
        assert video.size == pixels.shape[1::-1]
    assert pixels.shape == theirs.shape == np.rot90(numbered(0), turns).shape
    assert np.abs(pixels.astype(int) - theirs).max() <= 4
    assert np.abs(pixels.astype(int) - np.rot90(numbered(0), turns)).mean() < 10


def test_frames_of_a_varying_rate_keep_their_times(tmp_path):
    times = [0.0, 0.04, 0.15, 0.16, 0.5, 1.25]
    path = make_video(tmp_path / "a.mp4", 6, times=times)
    with (
        read_video(path) as video,
        VideoWriter(tmp_path / "b.mp4", video.size, video.rate) as writer,
    ):
        for frame in video:
            writer.write(frame.pixels, frame.time)
    with read_video(tmp_path / "b.mp4") as video:
        np.testing.assert_allclose([frame.time for frame in video], times, atol=2e-2)


@pytest.mark.parametrize("frames", [1, 2, 50])
@pytest.mark.parametrize("rate", [NTSC, Fraction(25), Fraction(24000, 1001), Fraction(60), Fraction(15, 2)])
@pytest.mark.parametrize("size", [(160, 120), (161, 119), (641, 479)])
def test_written_video_has_size_rate_and_number_of_frames(tmp_path, size, rate, frames):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size, rate) as writer:
        for index in range(frames):
            # as Matroska states times: in whole milliseconds
            writer.write(numbered(index, size), round(float(index / rate), 3))
        assert not path.exists()
    found, pictures = by_opencv(path)
    assert found == pytest.approx(float(rate), abs=1e-9)
    assert [number_of(picture) for picture in pictures] == list(range(frames))
    assert pictures[0].shape == (size[1], size[0], 3)
    with read_video(path) as video:
        assert (video.rate, video.count, video.size) == (rate, frames, size)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_writing_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def interrupted():
        with VideoWriter(path, (32, 32), 25) as writer:
            writer.write(numbered(0, (32, 32)), 0)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_written_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (32, 32), 25):
        pass
    assert not list(tmp_path.iterdir())


def test_full_disk_is_told(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    rng = np.random.default_rng(0)

    def fill():
        with VideoWriter(tmp_path / "a.mp4", (64, 64), 25) as writer:
            writer.write(numbered(0, (64, 64)), 0)
            writer._container.close()
            writer._container = writer._av.open("/dev/full", "w", format="mp4")
            writer._stream = writer._container.add_stream("mpeg4", rate=25)
            writer._stream.width, writer._stream.height, writer._stream.pix_fmt = 64, 64, "yuv420p"
            for index in range(200):
                writer.write(rng.integers(0, 255, (64, 64, 3), np.uint8), index / 25)

    with pytest.raises(ConfigError, match=r"a\.mp4: video cannot be written"):
        fill()


def cut(path, share: float) -> str:
    """Cut a file short."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * share)])
    return str(path)


def test_mp4_without_its_index_is_told(tmp_path):
    with pytest.raises(ImageError, match=r"a\.mp4: an MP4 file without its index \(moov\).*cut short"):
        read_video(cut(make_video(tmp_path / "a.mp4", 60), 0.6))


@pytest.mark.parametrize(
    ("name", "codec", "options", "message"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}, "ends early: {n} frames were read of 200 stated"),
        ("a.avi", "mpeg4", {}, "ends early: {n} frames were read of 200 stated"),
        ("a.mkv", "libx264", {}, "s of 8.00 s: {n} frames were read"),
    ],
)
def test_file_that_ends_early_gives_what_it_has_and_a_word(tmp_path, name, codec, options, message):
    path = cut(make_video(tmp_path / name, 200, codec=codec, **options), 0.5)
    errors, frames, _ = errors_and_frames(path)
    assert 20 < len(frames) < 180
    assert [number_of(frame.pixels) for frame in frames] == list(range(len(frames)))
    assert message.format(n=len(frames)) in errors[-1]
    with pytest.raises(ImageError, match="ends early|damaged"), read_video(path) as video:
        list(video)


def test_transport_stream_cut_within_a_packet_ends_early(tmp_path):
    path = Path(make_video(tmp_path / "a.ts", 60))
    assert errors_and_frames(path)[0] == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 // 188 * 188 + 100])
    errors, frames, _ = errors_and_frames(path)
    assert 10 < len(frames) < 60
    assert f"ends early, within a packet: {len(frames)} frames were read" in errors[-1]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.mov", "mjpeg")])
def test_damaged_frames_are_left_out_and_told(tmp_path, name, codec):
    options = {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {}
    path = Path(make_video(tmp_path / name, 100, codec=codec, **options))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(1).integers(0, 255, 300, np.uint8).tobytes()
    path.write_bytes(data)
    errors, frames, video = errors_and_frames(path)
    assert errors
    assert "is damaged" in errors[0]
    assert 60 < len(frames) < 100
    assert video.broken == len([error for error in errors if "is damaged" in error])
    # those that are left keep their times, so that nothing moves
    late = [frame for frame in frames if frame.time > 3.5]
    assert [number_of(frame.pixels) for frame in late] == [round(frame.time * 25) for frame in late]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "is empty"),
        ("a.mp4", b"<html>404</html>", "HTML page"),
        ("a.mp4", b"just a text\n" * 100, "not a video"),
        ("a.txt", b"just a text\n" * 100, "not a video.* text"),
        ("a.mp4", bytes(range(256)) * 40, "not a video"),
        ("a.mp4", None, "no such file|No such file"),
    ],
)
def test_file_that_is_no_video_is_told(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_video(tmp_path / name)


def test_pictures_sound_and_folders_are_no_videos(tmp_path):
    import av

    cv2.imwrite(str(tmp_path / "a.jpg"), numbered(0))
    with pytest.raises(ImageError, match="a picture, not a video: give it by --images"):
        read_video(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="give a folder of pictures by --dir"):
        read_video(tmp_path)
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ImageError, match="holds no video, sound only"):
        read_video(tmp_path / "a.wav")


def test_without_pyav_the_command_that_brings_it_is_told(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match="pip install av"):
        read_video(path)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_watching_gives_each_frame_with_what_stands_in_it(toy, tmp_path, batch_size):
    path = make_video(tmp_path / "a.mp4", 30)
    detector = Detector.from_saved(toy, batch_size=batch_size)
    seen = list(watch(detector, path))
    assert [frame.index for frame, _ in seen] == list(range(30))
    assert [number_of(frame.pixels) for frame, _ in seen] == list(range(30))
    with read_video(path) as video:
        alone = [detector.detect(frame.pixels) for frame in video]
    for (_, found), expected in zip(seen, alone):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.score, expected.score)
        assert found.name(0) == "red"
        np.testing.assert_allclose(found.boxes[0], [0, 0, 80, 60], atol=0.5)


def test_watching_can_be_left_at_any_time(toy, tmp_path):
    path = make_video(tmp_path / "a.mp4", 60)
    before = threading.active_count()
    for frame, _ in watch(Detector.from_saved(toy), path):
        if frame.index == 3:
            break
    with read_video(path) as video:
        assert number_of(next(iter(video)).pixels) == 0
    for thread in threading.enumerate():
        if thread.name.startswith(("read ahead", "ahead")):
            thread.join(5)
    assert threading.active_count() <= before


def test_damage_while_watching_is_raised_or_told(toy, tmp_path):
    path = cut(make_video(tmp_path / "a.mkv", 200), 0.5)
    detector, errors = Detector.from_saved(toy), []
    assert len(list(watch(detector, path, on_error=errors.append))) > 20
    assert "ends early" in str(errors[-1])
    with pytest.raises(ImageError, match="ends early|damaged"):
        list(watch(detector, path))


def test_reading_ahead_is_bounded_and_keeps_order():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    ahead = read_ahead(items(), 3)
    first = [next(ahead) for _ in range(5)]
    assert first == list(range(5))
    assert len(taken) <= 5 + 3 + 1
    assert list(ahead) == list(range(5, 100))


def test_error_while_reading_ahead_comes_at_its_turn():
    def items():
        yield 1
        raise ImageError("broken")

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(ImageError, match="broken"):
        next(ahead)


def test_times_that_restart_go_on_at_the_rate(tmp_path):
    parts = [Path(make_video(tmp_path / name, 30, codec="mpeg2video")) for name in ("a.mpg", "b.mpg")]
    (tmp_path / "both.mpg").write_bytes(b"".join(part.read_bytes() for part in parts))
    _, frames, _ = errors_and_frames(tmp_path / "both.mpg")
    assert len(frames) >= 58
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.04, atol=0.001)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_video_whose_times_begin_late_is_whole(tmp_path, name):
    times = [20 + index / 25 for index in range(50)]
    path = make_video(tmp_path / name, 50, codec="libvpx" if name == "a.webm" else "libx264", times=times)
    errors, frames, video = errors_and_frames(path)
    assert (errors, len(frames), frames[0].time) == ([], 50, 0)
    assert frames[-1].time == pytest.approx(49 / 25, abs=0.002)


def test_frames_that_were_dropped_as_an_avi_was_recorded_are_not_missing(tmp_path):
    times = [index / 25 for index in range(60) if not 20 <= index < 30]
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        for time in times:
            frame = av.VideoFrame.from_ndarray(numbered(round(time * 25)), format="rgb24")
            frame.pts, frame.time_base = round(time * 25), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    errors, frames, video = errors_and_frames(path)
    assert video.count == 60  # with the empty ones
    assert (errors, len(frames)) == ([], 50)


def test_video_with_sound_that_is_cut_short_by_little_is_told(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream, sound = container.add_stream("mpeg4", rate=5), container.add_stream("mp3", rate=16000)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(300):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16000, 3200 * index
            container.mux(sound.encode(samples))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    assert errors_and_frames(path)[0] == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 97 // 100])  # 1.8 seconds of 60
    errors, frames, _ = errors_and_frames(path)
    assert 280 < len(frames) < 300
    assert "ends early" in errors[-1]
