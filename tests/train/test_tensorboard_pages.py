"""TensorBoard itself, on localhost, in a headless browser: the pages show what a run logged."""

from __future__ import annotations

import contextlib
import re
import selectors
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMEOUT = 60  # seconds until a page shows what it is to show

# All texts and pictures of a page, through every shadow root.
COLLECT = """
const texts = [], pictures = [];
const visit = (node) => {
  if (node.nodeType === Node.TEXT_NODE && node.textContent.trim()) texts.push(node.textContent.trim());
  if (node.tagName === 'IMG') pictures.push([node.naturalWidth, node.naturalHeight]);
  if (node.shadowRoot) visit(node.shadowRoot);
  for (const child of node.childNodes) visit(child);
};
visit(document.body);
let curves = 0;
const count = (root) => root.querySelectorAll('*').forEach((node) => {
  if (node.tagName.toLowerCase() === 'path' && (node.getAttribute('d') || '').includes('L')) curves += 1;
  if (node.shadowRoot) count(node.shadowRoot);
});
count(document.body);
return {texts, pictures, curves};
"""


@contextlib.contextmanager
def serving(folder: Path):
    """Run TensorBoard on a folder, on a free port of this machine; gives its address."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        folder,
        "--port",
        "0",
        "--host",
        "127.0.0.1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


def _address(process) -> str:
    """Return the address that TensorBoard says it serves."""
    told, end = [], time.monotonic() + TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while time.monotonic() < end and selector.select(max(0.0, end - time.monotonic())):
            line = process.stderr.readline()
            told.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                return found.group()
            if not line:
                break
    raise AssertionError(f"TensorBoard did not start: {''.join(told)}")


@pytest.fixture(scope="module")
def run(records, tmp_path_factory) -> Path:
    """The folder of a run of three epochs with everything on."""
    from tests.train.conftest import Trainer

    session = Trainer(records, tmp_path_factory.mktemp("pages"))
    flags = ("--end-epoch", "3", "--tensorboard", "--frequent", "1", "--monitor", "3", "--pattern", "conv1_")
    assert session.new("run", *flags, val=True) == 0
    return session.folder / "run"


@pytest.fixture(scope="module")
def address(run, browser):
    size = browser.get_window_size()
    browser.set_window_size(1400, 5000)  # a page makes only what is in sight
    with serving(run / "logs") as where:
        yield where
    browser.set_window_size(size["width"], size["height"])


def look(browser, address: str, page: str, shown, screenshot: Path) -> dict:
    """Open one of TensorBoard's pages, wait until `shown(what is on it)`, and keep a picture of it."""
    browser.get(f"{address}/#{page}")
    browser.refresh()
    end, found = time.monotonic() + TIMEOUT, {}
    while time.monotonic() < end:
        found = browser.execute_script(COLLECT)
        if shown(found):
            break
        time.sleep(0.5)
    time.sleep(1.5)  # lines are drawn with a movement
    assert browser.save_screenshot(str(screenshot))
    assert screenshot.stat().st_size > 10_000
    assert shown(found), found
    return found


@pytest.mark.slow
def test_curves_are_shown(browser, address, tmp_path):
    wanted = {"AP/square", "AP/star", "AP/triangle", "batch/cls_loss", "batch/lr", "epoch/cls_loss", "mAP"}

    def shown(found):
        for group in {"batch", "epoch", "mAP"} - opened:  # at first all but two groups are folded up
            for button in browser.find_elements("xpath", f"//button[.//*[normalize-space()='{group}']]"):
                button.click()
                opened.add(group)
        page = "".join(found["texts"])  # a tag comes in pieces: "AP/", "square"
        return all(tag in page for tag in wanted) and found["curves"] >= len(wanted)

    opened = set()
    found = look(browser, address, "timeseries", shown, tmp_path / "scalars.png")
    assert {"train/scalar", "train/epoch", "val/scalar"} <= set(found["texts"])


@pytest.mark.slow
def test_precision_recall_curves_are_shown(browser, address, tmp_path):
    def shown(found):
        return {"PR/square", "PR/star", "PR/triangle"} <= set(found["texts"]) and found["curves"] >= 3

    look(browser, address, "pr_curves", shown, tmp_path / "pr_curves.png")


@pytest.mark.slow
def test_validation_pictures_are_shown(browser, address, tmp_path):
    def shown(found):
        names = [f"pictures/{i} JPEGImages/val_{i:06d}.jpg" for i in range(2)]
        return set(names) <= set(found["texts"]) and any(width > 100 for width, _ in found["pictures"])

    look(browser, address, "images", shown, tmp_path / "images.png")


@pytest.mark.slow
def test_texts_and_histograms_are_shown(browser, address, tmp_path):
    def texts(found):
        page = " ".join(found["texts"])
        return "train.py --network ssd7" in page and '"network": "ssd7"' in page

    look(browser, address, "text", texts, tmp_path / "text.png")
    look(
        browser,
        address,
        "histograms",
        lambda found: "activation/conv1_output" in found["texts"] and found["curves"],
        tmp_path / "histograms.png",
    )
