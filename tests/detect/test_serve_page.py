"""The local page in a real browser, with the detector that ships with the project on drawn scenes."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from waitress import wasyncore

from common.drawing import class_colours
from common.mx import mx
from dataset.scenes import draw_scene
from detect.detector import Detector
from detect.serve import make_app
from detect.serve.server import address, listen, make_server
from model import SHIPPED_MODEL

SEED = 11


@pytest.fixture(scope="module")
def shipped():
    return Detector(SHIPPED_MODEL, context=mx.cpu())


def scene(seed, size=(480, 360)):
    return draw_scene(seed, size, empty_share=0.0)[0]


class Page:
    """What a user does and sees, in the words of the page."""

    def __init__(self, browser):
        self.browser = browser

    def all(self, css):
        return self.browser.find_elements("css selector", css)

    def one(self, css):
        return self.browser.find_element("css selector", css)

    def js(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def until(self, condition, what):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            time.sleep(0.05)
        raise AssertionError(f"waited in vain for {what}; the page says: {self.one('body').text}")

    def looked_at(self, number):
        """Wait until so many pictures are looked at."""
        states = "return [...document.querySelectorAll('.thumbnail .state')].map((s) => s.textContent)"
        self.until(
            lambda: len(self.js(states)) == number and "…" not in self.js(states), f"{number} pictures"
        )

    def labels(self):
        return self.js(
            "return [...document.querySelectorAll('#boxes g.label')]"
            ".sort((a, b) => a.dataset.index - b.dataset.index).map((g) => g.textContent)"
        )

    def threshold(self, value):
        self.js(
            "const s = document.getElementById('threshold'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input', {bubbles: true}))",
            value,
        )

    def downloaded(self, folder, name):
        path = folder / name
        self.until(lambda: path.exists() and path.stat().st_size, name)
        return path.read_bytes()


@pytest.fixture
def open_page(browser, tmp_path):
    """Serve a detector and open its page: open_page(detector, **settings) -> Page."""
    stopping = []

    def open_it(detector, **settings):
        listening = listen("127.0.0.1", 0)
        server = make_server(make_app(detector, **settings), listening)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        stopping.append((server, thread, listening))
        browser.get_log("browser")  # what earlier pages said
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "downloads")}
        )
        browser.get(address("127.0.0.1", listening.getsockname()[1]))
        page = Page(browser)
        page.until(lambda: page.all("#classes li"), "the model")
        return page

    yield open_it
    browser.get("about:blank")
    for server, thread, listening in stopping:
        # In its own thread, with the connections that the browser keeps open.
        server.trigger.pull_trigger(lambda sockets=server._map: wasyncore.close_all(sockets, ignore_all=True))
        server.task_dispatcher.shutdown()
        thread.join(10)
        assert not thread.is_alive()
        listening.close()


def write(path, pixels, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def complaints(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_an_uploaded_picture_is_looked_at_and_downloaded(open_page, shipped, browser, tmp_path):
    found = shipped.detect(scene(SEED))
    shown = found.above(0.5)
    assert len(shown) >= 2
    page = open_page(shipped)
    assert page.one("#model-name").text == SHIPPED_MODEL.name
    page.one("#file").send_keys(write(tmp_path / "bild <b>&.png", scene(SEED)))
    page.looked_at(1)

    # every box where the detector has it, on the picture as large as it is shown
    assert page.labels() == [f"{shown.name(i)} {shown.score[i]:.2f}" for i in range(len(shown))]
    width = page.js("return document.getElementById('picture').getBoundingClientRect().width")
    drawn = page.js(
        "return [...document.querySelectorAll('#boxes g.box')].sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map((g) => ['x', 'y', 'width', 'height'].map((k) => Number(g.lastChild.getAttribute(k))))"
    )
    expected = (
        np.concatenate([shown.boxes[:, :2], shown.boxes[:, 2:] - shown.boxes[:, :2]], axis=1) * width / 480
    )
    np.testing.assert_allclose(drawn, expected, atol=0.1)
    overlay, picture = (
        page.js(
            "return Object.values(document.querySelector(arguments[0]).getBoundingClientRect().toJSON())", css
        )
        for css in ("#boxes", "#picture")
    )
    assert overlay == pytest.approx(picture, abs=0.1)
    assert len(page.all("#rows tr")) == len(shown)

    page.one("#save-json").click()
    entry = json.loads(page.downloaded(tmp_path / "downloads", "bild _b_&.json"))
    assert entry == {"file": "bild <b>&.png", "size": [480, 360], "detections": shown.as_records()}

    page.one("#save-png").click()
    annotated = np.array(
        Image.open(io.BytesIO(page.downloaded(tmp_path / "downloads", "bild _b_&-seen.png")))
    )
    assert annotated.shape[:2] == (360, 480)
    changed = np.any(annotated[..., :3] != scene(SEED), axis=2)
    assert 0.01 < changed.mean() < 0.5
    colour = class_colours(5)[shown.class_id[0]]
    xmin, ymin, xmax, _ = shown.boxes[0]
    edge = annotated[int(np.ceil(ymin)) : int(np.ceil(ymin)) + 1, int(xmin) + 2 : int(xmax) - 2, :3]
    assert np.mean(np.all(np.abs(edge.astype(int) - colour) < 40, axis=2)) > 0.3

    browser.save_screenshot(str(tmp_path / "page.png"))
    assert complaints(browser) == []


def test_threshold_and_classes_choose_what_is_shown(open_page, shipped, browser, tmp_path):
    found = shipped.detect(scene(SEED))
    page = open_page(shipped, threshold=0.3)
    page.one("#file").send_keys(write(tmp_path / "scene.png", scene(SEED)))
    page.looked_at(1)
    assert len(page.labels()) == len(found.above(0.3))
    for threshold in (0.01, 0.6, 0.9):
        page.threshold(threshold)
        assert len(page.labels()) == len(page.all("#rows tr")) == len(found.above(threshold))
        assert page.one("#threshold-value").text == str(threshold)
    assert len(found.above(0.01)) > len(found.above(0.6)) > len(found.above(0.9))

    page.threshold(0.3)
    shown = found.above(0.3)
    first = int(shown.class_id[0])
    counts = [int(count.text) for count in page.all("#classes .number")]
    assert counts == np.bincount(shown.class_id, minlength=5).tolist()
    page.all("#classes input")[first].click()
    left = shown.select(shown.class_id != first)
    assert page.labels() == [f"{left.name(i)} {left.score[i]:.2f}" for i in range(len(left))]
    assert page.js("return document.getElementById('all').indeterminate") is True
    page.one("#save-json").click()
    entry = json.loads(page.downloaded(tmp_path / "downloads", "scene.json"))
    assert entry["detections"] == left.as_records()
    page.one("#all").click()  # from some to all
    assert len(page.labels()) == len(shown)
    page.one("#all").click()
    assert page.labels() == []
    assert "Nothing is shown" in page.one("#nothing").text
    assert complaints(browser) == []


def test_thresholds_by_class_are_begun_with_and_can_be_come_back_to(open_page, shipped, tmp_path):
    found = shipped.detect(scene(SEED))
    thresholds = np.full(5, 0.05)
    thresholds[found.class_id[0]] = 0.98 if found.score[0] < 0.98 else 0.9999
    expected = [len(found.above(value)) for value in (thresholds, 0.4)]
    assert expected[0] != expected[1]
    page = open_page(shipped, threshold=thresholds)
    page.one("#file").send_keys(write(tmp_path / "scene.png", scene(SEED)))
    page.looked_at(1)
    assert (len(page.labels()), page.one("#threshold-value").text) == (expected[0], "by class")
    page.threshold(0.4)
    assert (len(page.labels()), page.one("#own").is_selected()) == (expected[1], False)
    page.one("#own").click()
    assert len(page.labels()) == expected[0]


def test_a_row_that_is_pointed_at_lights_its_box(open_page, shipped, tmp_path):
    page = open_page(shipped)
    page.one("#file").send_keys(write(tmp_path / "scene.png", scene(SEED)))
    page.looked_at(1)
    page.js("document.querySelectorAll('#rows tr')[1].focus()")
    lit = page.js(
        "return [...document.querySelectorAll('#boxes .lit')].map((g) => [g.dataset.index, g.textContent])"
    )
    assert sorted(lit) == [["1", ""], ["1", page.labels()[1]]]

    page.js("document.activeElement.blur()")
    assert page.all("#boxes .lit") == []
    box = page.one("#boxes g.box[data-index='0'] .line")
    ActionChains(page.browser).move_to_element(box).perform()
    assert page.one("#rows tr.lit").get_attribute("data-index") == "0"


def test_dropped_and_pasted_pictures_come_in_too(open_page, shipped, browser):
    page = open_page(shipped)
    stream = io.BytesIO()
    Image.fromarray(scene(SEED)).save(stream, "PNG")
    hand_over = """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        for (const name of arguments[2]) transfer.items.add(new File([bytes], name, {type: 'image/png'}));
        const made = arguments[1] === 'paste'
            ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
            : new DragEvent(arguments[1], {dataTransfer: transfer, bubbles: true, cancelable: true});
        return document.body.dispatchEvent(made);
    """
    data = base64.b64encode(stream.getvalue()).decode()
    assert page.js(hand_over, data, "dragover", ["a.png"]) is False  # the page takes it
    assert page.one("#drop-here").is_displayed()
    assert page.js(hand_over, data, "drop", ["a.png", "b.png"]) is False
    assert not page.one("#drop-here").is_displayed()
    page.looked_at(2)
    page.js(hand_over, data, "paste", ["image.png"])
    page.looked_at(3)
    assert [name.text for name in page.all(".thumbnail .name")] == ["a.png", "b.png", "pasted-1.png"]
    assert len(page.labels()) == len(shipped.detect(scene(SEED)).above(0.5))
    assert complaints(browser) == []


def test_several_pictures_are_downloaded_together(open_page, shipped, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [
        write(tmp_path / "a" / "000000000139.png", scene(1)),
        write(tmp_path / "b" / "000000000139.png", scene(2)),
        write(tmp_path / "house.v2.png", scene(3)),
    ]
    (tmp_path / "notes.png").write_text("no picture")
    page = open_page(shipped)
    page.one("#file").send_keys("\n".join([*files, str(tmp_path / "notes.png")]))
    page.looked_at(4)
    found = [shipped.detect(scene(seed)).above(0.5) for seed in (1, 2, 3)]
    page.one("#save-all-json").click()
    everything = json.loads(page.downloaded(tmp_path / "downloads", "detections.json"))
    assert everything["class_names"] == list(shipped.class_names)
    assert (everything["model"], everything["epoch"], everything["threshold"]) == (
        SHIPPED_MODEL.name,
        shipped.epoch,
        0.5,
    )
    assert [entry["detections"] for entry in everything["images"]] == [one.as_records() for one in found]
    assert [entry["file"] for entry in everything["failed"]] == ["notes.png"]
    page.one("#save-all-coco").click()
    results = json.loads(page.downloaded(tmp_path / "downloads", "coco-results.json"))
    ids = (139, "000000000139", "house.v2")
    expected = [entry for one, image_id in zip(found, ids) for entry in one.to_coco(image_id)]
    assert len(results) == len(expected) > 3
    for mine, other in zip(results, expected):
        assert (mine["image_id"], mine["category_id"]) == (other["image_id"], other["category_id"])
        np.testing.assert_allclose(mine["bbox"], other["bbox"], atol=2e-4)
        assert mine["score"] == pytest.approx(other["score"], abs=1e-6)


def test_pictures_that_browsers_cannot_show_or_turn_are_shown_as_they_were_looked_at(
    open_page, shipped, tmp_path, browser
):
    upright = Image.fromarray(scene(SEED))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    turned.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "scan.tif")
    page = open_page(shipped)
    page.one("#file").send_keys(
        "\n".join(str(tmp_path / name) for name in ("turned.jpg", "turned.png", "scan.tif"))
    )
    page.looked_at(3)
    shown = """
        const image = document.getElementById('picture'), canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext('2d').drawImage(image, 0, 0);
        return [canvas.toDataURL('image/png').split(',')[1], document.getElementById('facts').textContent];
    """
    for number, button in enumerate(page.all(".thumbnail")):
        button.click()
        page.until(lambda: page.js("return document.getElementById('picture').complete"), "the picture")
        data, facts = page.js(shown)
        assert "480 × 360 pixels" in facts
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
        assert np.abs(pixels - scene(SEED)).mean() < (8 if number == 0 else 0.01), number
    assert complaints(browser) == []


def test_what_cannot_be_looked_at_is_said_on_the_page(open_page, shipped, tmp_path):
    (tmp_path / "<img src=x onerror=alert(1)>.png").write_bytes(b"GIF89a and no more")
    (tmp_path / "large.png").write_bytes(bytes(400_000))
    page = open_page(shipped, max_upload_mb=0.3)
    page.one("#file").send_keys(str(tmp_path / "<img src=x onerror=alert(1)>.png"))
    page.looked_at(1)
    assert page.one("#problem").text.startswith("<img src=x onerror=alert(1)>.png: ")
    assert page.all("img[onerror]") == []
    assert not page.one("#save-json").is_enabled()
    page.one("#file").send_keys(str(tmp_path / "large.png"))
    page.looked_at(2)
    assert page.one("#problem").text == (
        "large.png: the file has 0.400 MB, the limit is 0.300 MB: make the picture smaller"
    )
    page.one("#remove").click()
    page.one("#remove").click()
    assert page.one("#welcome").is_displayed()


def test_class_names_of_any_kind_are_text(open_page, toy, tmp_path, browser):
    names = ("<script>document.title='bad'</script>", "größe / 大小", "x" * 300)
    card = dataclasses.replace(toy.card, class_names=names)
    detector = Detector.from_saved(dataclasses.replace(toy, card=card), context=mx.cpu())
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[:60, :80, 0], pixels[:60, 80:, 1], pixels[60:, :80, 2] = 255, 255, 255
    page = open_page(detector)
    page.one("#file").send_keys(write(tmp_path / "a.png", pixels))
    page.looked_at(1)
    score = f"{detector.detect(pixels).score[0]:.2f}"
    labels = sorted(page.labels())
    assert labels[:2] == [f"{names[0]} {score}", f"{names[1]} {score}"]
    assert labels[2].startswith("xxxx")
    assert labels[2].endswith("…")
    assert [name.text for name in page.all("#classes .name")] == list(names)
    assert "bad" not in browser.title
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    assert complaints(browser) == []


def test_a_server_that_is_gone_is_told(open_page, shipped, tmp_path):
    page = open_page(shipped)
    page.js("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.one("#file").send_keys(write(tmp_path / "scene.png", scene(SEED)))
    page.looked_at(1)
    assert page.one("#problem").text == "The server does not answer. Is demo.py --serve still running?"


def test_the_page_fits_a_phone(open_page, shipped, tmp_path, browser):
    page = open_page(shipped)
    page.one("#file").send_keys(write(tmp_path / "scene.png", scene(SEED)))
    page.looked_at(1)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.until(lambda: page.js("return innerWidth") == 360, "the phone's width")
        assert page.js("return document.documentElement.scrollWidth") == 360
        image = page.js("return document.getElementById('picture').getBoundingClientRect().width")
        page.until(
            lambda: (
                page.js(
                    "return Number(document.getElementById('boxes').getAttribute('viewBox').split(' ')[2])"
                )
                == image
            ),
            "boxes at the new size",
        )
        browser.save_screenshot(str(tmp_path / "phone.png"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_scenes_can_be_drawn_where_there_is_no_picture_at_hand(open_page, shipped):
    page = open_page(shipped)
    page.one("#draw-scene").click()
    page.looked_at(1)
    found = shipped.detect(scene(1, (480, 480))).above(0.5)
    assert page.labels() == [f"{found.name(i)} {found.score[i]:.2f}" for i in range(len(found))]
