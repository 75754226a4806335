"""A full disk: one line, the last checkpoint stays, and the run goes on where there is room again."""

import os
import subprocess

import pytest

from common.errors import ConfigError
from common.files import sha256
from common.mx import mx
from model.parameters import load_arrays, save_arrays

ONE_BATCH = ("--batch-size", "12", "--end-epoch", "4")


class SmallDisk:
    """A file system in memory of a chosen size."""

    def __init__(self, folder):
        self.folder = folder

    def mount(self, size: str, *, again: bool = False) -> None:
        options = f"remount,size={size}" if again else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")


@pytest.fixture
def disk(tmp_path):
    """A small disk, to be mounted; skips where this user may not."""
    (tmp_path / "disk").mkdir()
    yield SmallDisk(tmp_path / "disk")
    subprocess.run(["umount", "-l", tmp_path / "disk"], capture_output=True, check=False)


def one_line(capfd) -> str:
    """Return what came on stderr, which must be one line."""
    error = capfd.readouterr().err
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("values", [10**6, 270_000, 262_144, *range(258_000, 262_144, 400)])
def test_file_that_does_not_fit_leaves_the_old_one(disk, values):
    """1 MB are 262144 values; MXNet writes a file whose end does not fit without a word."""
    disk.mount("1m")
    path = disk.folder / "x.params"
    before = save_arrays(path, {"arg:weight": mx.nd.ones((1000,))})
    with pytest.raises(ConfigError, match="x.params: cannot be written"):
        save_arrays(path, {"arg:weight": mx.nd.ones((values + 4000,))})
    assert sha256(path) == before
    assert [p.name for p in disk.folder.iterdir()] == ["x.params"]


def test_every_file_that_is_written_can_be_read(disk):
    disk.mount("1m")
    path, outcomes = disk.folder / "x.params", set()
    for values in range(261_000, 262_600, 100):
        path.unlink(missing_ok=True)
        try:
            digest = save_arrays(path, {"arg:weight": mx.nd.ones((values,))})
            assert load_arrays(path, digest)["arg:weight"].shape == (values,)
            outcomes.add("written")
        except ConfigError:
            outcomes.add("refused")
    assert outcomes == {"written", "refused"}


def test_run_that_fills_the_disk_goes_on_where_there_is_room(trainer, disk, capfd):
    """Parameters and states take 1.7 MB: epoch 1 fits into 3 MB, epoch 2 beside it does not."""
    disk.mount("3m")
    flags = ("--prefix", str(disk.folder / "run" / "ssd"))
    assert trainer.run(*trainer.data(), *flags, *ONE_BATCH) == 2
    assert "cannot be written" in one_line(capfd)
    trainer.folder = disk.folder
    assert trainer.card("run").last == 1
    assert trainer.arrays("run")
    disk.mount("8m", again=True)
    assert trainer.resume("run") == 0
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]
    result = trainer.bytes("run")
    trainer.folder = disk.folder.parent
    assert result == trainer.unbroken(*ONE_BATCH[:2])


@pytest.mark.parametrize("free", [0, 4096, 12288, 40960])
def test_run_without_room_to_begin_says_so(trainer, disk, capfd, free):
    """No room for the log, the card, the shuffled copy of the records."""
    disk.mount("1m")
    (disk.folder / "filler").write_bytes(bytes((1 << 20) - free))
    assert trainer.run(*trainer.data(), "--prefix", str(disk.folder / "ssd"), *ONE_BATCH) == 2
    assert "No space left" in one_line(capfd)
    assert not [name for name in os.listdir(disk.folder) if name.endswith(".params")]
