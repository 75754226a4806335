"""Fixtures that every folder of tests shares."""

import os
import shutil
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Started behind & or nohup, a process ignores these, and so would every command that a test starts and stops.
for _signal, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _usual)


def _shared(variable: str, folder: str) -> Path:
    """Return a folder of outside data, by its environment variable or beside the project; skip where it is absent."""
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"no outside data at {path}; set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images (bccd, coco_tiny, photos, caffe)."""
    return _shared("SSD_SHARED_DATA", "data")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of values measured on earlier SSD systems."""
    return _shared("SSD_SHARED_GOLDEN", "golden")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def _engine_as_it_is(monkeypatch):
    """Commands choose the engine of their process; here the process belongs to all tests."""
    for place in ("detect.flags", "detect.detector"):
        monkeypatch.setattr(f"{place}.use_synchronous_engine", lambda devices: None)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium driven by selenium; skips where Debian's packages are absent."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next((path for path in map(shutil.which, names) if path), None)
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("no Chromium here to look at pages with: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,1000")
    for flag in flags:
        options.add_argument(f"--{flag}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL"}
    )  # driver.get_log("browser") has the console
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield chrome
    chrome.quit()
