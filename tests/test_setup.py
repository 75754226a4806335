"""The set-up: lock files that agree, and tools/setup.sh, run with an interpreter that only pretends."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from common import mx

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
MINORS = ("3.9", "3.10", "3.11", "3.12")
TOOLS = (
    "sh",
    "awk",
    "basename",
    "cat",
    "cmp",
    "cp",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "touch",
)
PRETENDER = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in
*base_prefix*) echo "{minor} {minor}.7 {python}" ;;
*ensurepip*) exit {without_venv} ;;
"-m venv"*) mkdir -p .venv/bin && cp "{python}" .venv/bin/python ;;
"-m pip"*) exit {pip_fails} ;;
esac
"""


def _pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def _lock(minor: str) -> str:
    return (REQUIREMENTS / f"python{minor}.txt").read_text()


def _direct() -> list[Requirement]:
    lines = (
        line.split("#")[0].strip() for line in (REQUIREMENTS / "requirements.in").read_text().splitlines()
    )
    return [Requirement(line) for line in lines if line]


class Checkout:
    """A folder with the set-up's files and a PATH on which only pretended interpreters stand."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "log"
        self.bin = folder / "bin"
        for part in ("bin", "tools"):
            (folder / part).mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
        shutil.copytree(REQUIREMENTS, folder / "requirements")
        for tool in TOOLS:
            if shutil.which(tool):
                (self.bin / tool).symlink_to(shutil.which(tool))

    def add_python(self, minor: str, *, name: str = "", without_venv: int = 0, pip_fails: int = 0) -> Path:
        """Put a pretended Python on the PATH, in place of one of that name."""
        path = self.bin / (name or f"python{minor}")
        values = {"minor": minor, "python": path, "log": self.log}
        path.write_text(PRETENDER.format(**values, without_venv=without_venv, pip_fails=pip_fails))
        path.chmod(0o755)
        return path

    def add_broken_shim(self, minor: str) -> None:
        """Put a command on the PATH that is there and fails, as pyenv's do."""
        path = self.bin / f"python{minor}"
        path.write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
        path.chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run tools/setup.sh with nothing of this machine's environment."""
        environment = {"PATH": str(self.bin), "HOME": str(self.folder), **variables}
        command = ["sh", str(self.folder / "tools" / "setup.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def installs(self) -> int:
        """Return how often packages were installed."""
        return self.log.read_text().count("--require-hashes") if self.log.exists() else 0


def _explain(message: str) -> str:
    return str(mx.explain_import_error("mxnet", "mxnet==1.9.1", OSError(message)))


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path / "a folder")


@pytest.mark.parametrize("minor", MINORS)
def test_lock_pins_every_direct_dependency_within_its_bounds(minor):
    pins = _pins(_lock(minor))
    for requirement in _direct():
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert pins["mxnet"] == "1.9.1"
    assert pins["numpy"].startswith("1.")


@pytest.mark.parametrize("minor", MINORS)
def test_lock_has_one_opencv(minor):
    assert [name for name in _pins(_lock(minor)) if name.startswith("opencv")] == ["opencv-python-headless"]


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_lock_holds_nothing_but_hashed_pins(path):
    text = path.read_text()
    blocks = re.sub(r"\\\n", "", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    assert blocks
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( +--hash=sha256:[0-9a-f]{64})+ *", block), block[:80]


def test_there_is_a_lock_for_each_python():
    assert {path.name for path in REQUIREMENTS.glob("python*.txt")} == {
        f"python{minor}.txt" for minor in MINORS
    }


@pytest.mark.parametrize("minor", MINORS)
def test_gpu_wheel_takes_the_place_of_mxnet_and_of_nothing_else(checkout, minor):
    printed = checkout.run("print", minor, "mxnet-cu112").stdout
    pins, original = _pins(printed), _pins(_lock(minor))
    assert pins.pop("mxnet-cu112") == original.pop("mxnet")
    assert pins == original
    wheel_hashes = re.findall(r"sha256:\w+", (REQUIREMENTS / "mxnet-cu112.txt").read_text())
    block = printed[printed.index("mxnet-cu112==") : printed.index("\nnumpy==")]
    assert re.findall(r"sha256:\w+", block) == wheel_hashes


def test_cpu_wheel_is_the_lock_itself(checkout):
    assert checkout.run("print", "3.11").stdout == _lock("3.11")


def test_unknown_wheel_is_refused_with_those_there_are(checkout):
    result = checkout.run(MXNET="mxnet-cu999")
    assert result.returncode == 2
    assert result.stderr == "error: MXNET=mxnet-cu999 is not known; there are: mxnet, mxnet-cu112\n"


def test_first_python_that_runs_is_taken(checkout):
    checkout.add_broken_shim("3.11")
    checkout.add_python("3.9")
    path = checkout.add_python("3.12")
    assert checkout.run("find").stdout == f"{path}\n"


def test_python_of_pyenv_is_found_behind_a_failing_shim(checkout):
    checkout.add_broken_shim("3.10")
    path = checkout.add_python("3.10", name="hidden")
    pyenv = checkout.folder / ".pyenv" / "versions" / "3.10.13" / "bin"
    pyenv.mkdir(parents=True)
    (pyenv / "python3.10").symlink_to(path)
    assert checkout.run("find").stdout == f"{path}\n"


def test_without_python_the_command_that_gets_one_is_named(checkout):
    checkout.add_broken_shim("3.11")
    result = checkout.run()
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "uv python install 3.11" in result.stderr


def test_python_of_the_wrong_version_is_refused(checkout):
    path = checkout.add_python("3.13")
    result = checkout.run(PYTHON=str(path))
    assert result.returncode == 2
    assert "is Python 3.13.7, and MXNet needs 3.9 to 3.12" in result.stderr


def test_missing_venv_names_the_package(checkout):
    checkout.add_python("3.12", without_venv=1)
    result = checkout.run()
    assert result.returncode == 2
    assert "apt-get install python3.12-venv" in result.stderr
    assert not (checkout.folder / ".venv").exists()


def test_second_setup_installs_nothing(checkout):
    checkout.add_python("3.11")
    assert checkout.run().returncode == 0
    second = checkout.run()
    assert (second.returncode, second.stdout, checkout.installs()) == (0, "", 1)


def test_half_made_environment_is_made_anew(checkout):
    checkout.add_python("3.11", pip_fails=1)
    assert checkout.run().returncode != 0
    assert not (checkout.folder / ".venv" / "installed.txt").exists()
    checkout.add_python("3.11")
    assert checkout.run().returncode == 0
    assert checkout.installs() == 2


def test_changed_lock_is_installed(checkout):
    checkout.add_python("3.11")
    checkout.run()
    with (checkout.folder / "requirements" / "python3.11.txt").open("a") as lock:
        lock.write("six==1.17.0\n")
    checkout.run()
    assert checkout.installs() == 2
    assert "six==1.17.0\n" in (checkout.folder / ".venv" / "installed.txt").read_text()


def test_other_python_is_installed_for_and_then_kept(checkout):
    checkout.add_python("3.11")
    other = checkout.add_python("3.10")
    checkout.run()
    checkout.run(PYTHON=str(other))
    assert checkout.installs() == 2
    checkout.run()
    assert checkout.installs() == 2


def test_gpu_wheel_is_kept_until_another_is_asked_for(checkout):
    checkout.add_python("3.11")
    for wheel, installs in (("mxnet-cu112", 1), ("", 1), ("mxnet", 2), ("", 2)):
        assert checkout.run(MXNET=wheel).returncode == 0
        assert checkout.installs() == installs


def test_all_missing_system_libraries_are_named_at_once(monkeypatch):
    monkeypatch.setattr(mx, "_can_load", lambda name: False)
    text = _explain("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert "libgomp.so.1 and libquadmath.so.0" in text
    assert "`apt-get install libgomp1 libquadmath0`" in text


def test_system_libraries_that_are_there_are_not_named(monkeypatch):
    monkeypatch.setattr(mx, "_can_load", lambda name: name == "libgomp.so.1")
    text = _explain("libquadmath.so.0: cannot open shared object file: No such file or directory")
    assert "`apt-get install libquadmath0`" in text


def test_gpu_wheel_without_a_gpu_names_the_way_back():
    text = _explain("libcudnn.so.8: cannot open shared object file: No such file or directory")
    assert "make setup MXNET=mxnet`" in text
