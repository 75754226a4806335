"""What is measured and how, as the flags say it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, did_you_mean
from tools.benchmarks.figures import NOISE_LIMIT
from tools.benchmarks.worker import Worker

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ("onnxruntime", "openvino", "opencv", "torch")
TRAINING_PEERS = ("torch",)
PRECISIONS = ("float32", "int8")
INT8_PEERS = ("onnxruntime", "openvino")
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        networks: with their input sizes, "ssd7_300"; () where a prefix is given.
        peers: engines beside ours.
        batches: numbers of images at once.
        precisions: of PRECISIONS.
        classes: foreground classes.
        threads: to compute with.
        rounds: of measurements.
        seconds: of each run in a round.
        noise_limit: largest ratio over the smallest above which it cannot be told.
        seed: of weights and images.
        prefix: of a trained detector in place of random ones; "" for none.
        epoch: of it; None for best, else last.
        images: folder of images; None draws scenes.
        calib_path: records to calibrate with; None packs drawn scenes.
        bench_python: interpreter of the peers' environment.
        say: called with lines that tell how far it has come.

    Raises:
        ConfigError: a value cannot be.
    """

    networks: tuple[str, ...]
    peers: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("float32",)
    classes: int = 20
    threads: int = 1
    rounds: int = 5
    seconds: float = 2.0
    noise_limit: float = NOISE_LIMIT
    seed: int = 0
    prefix: str = ""
    epoch: str | None = None
    images: str | None = None
    calib_path: str | None = None
    bench_python: str = str(BENCH_PYTHON)
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self):
        for flag, names, known in (
            ("--peers", self.peers, PEERS),
            ("--precision", self.precisions, PRECISIONS),
        ):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{flag} {name}: there is none of that name{did_you_mean(name, known)}")
        if not self.networks and not self.prefix:
            raise ConfigError("nothing to measure: give --networks, or --prefix with a trained detector")
        if self.networks and self.prefix:
            raise ConfigError("--networks and --prefix: give one of the two")
        if self.prefix and "int8" in self.precisions and not self.calib_path:
            raise ConfigError("--precision int8 of a trained detector: give its records by --calib-path")
        if not self.noise_limit > 1:
            raise ConfigError(f"--noise-limit {self.noise_limit:g}: expected a factor above 1, such as 1.2")
        if not self.seconds > 0:
            raise ConfigError(f"--seconds {self.seconds:g}: expected a number above 0")

    def open_peer(self, engine: str) -> Worker:
        """Start a peer's process.

        Raises:
            DependencyError: it is not installed.
        """
        return Worker(engine, self.bench_python, self.threads)

    def open_own(self, engine: str) -> Worker:
        """Start one of the project's own processes."""
        return Worker(engine, sys.executable, self.threads)

    def peer_versions(self, engines: tuple[str, ...]) -> dict[str, dict]:
        """Start each peer once, to know at the beginning that it is there; return their versions.

        Raises:
            DependencyError: one is not installed.
        """
        found = {}
        for engine in engines:
            with self.open_peer(engine) as worker:
                found[engine] = worker.versions
        return found

    @contextmanager
    def preparing(self):
        """Give a process that prepares; it ends before anything is measured."""
        with self.open_own("prepare") as worker:
            yield worker
