"""Videos made for tests, of frames whose content tells their number."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

SIDE = 16  # pixels of a square that stands for a bit
BITS = 10


def numbered(index: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Draw a frame (width, height): its top left quarter red, its number in black and white squares at the bottom."""
    width, height = size
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    side = min(SIDE, width // BITS)
    for bit in range(BITS):
        image[-side:, bit * side : (bit + 1) * side] = 255 * (index >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """Read the number of a frame that `numbered` drew."""
    side = min(SIDE, image.shape[1] // BITS)
    squares = [image[-side // 2, bit * side + side // 2].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, value in enumerate(squares) if value > 128)


def make_video(
    path,
    frames: int,
    *,
    size: tuple[int, int] = (160, 120),
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[float] | None = None,
    **options: str,
) -> str:
    """Write a video by PyAV, without anything of the project's; return its path.

    Args:
        path: of the file, whose ending chooses the container.
        frames: how many.
        size: (width, height).
        rate: frames a second.
        codec: FFmpeg's name.
        pix_fmt: FFmpeg's name of the pixels' form.
        times: of each frame in seconds, in place of the rate's.
        **options: of the container.
    """
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 10000)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(index, size), format="rgb24")
            frame.pts = round(times[index] * 10000) if times else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)
