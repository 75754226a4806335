"""The report as a page: what stands on it, what it writes, and how it behaves in a browser."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from common.errors import ConfigError, ImageError
from common.structures import Detections, Sample
from detect.thresholds import read_thresholds
from evaluate.coco import evaluate_coco
from evaluate.findings import Findings
from evaluate.operating_points import operating_curve
from evaluate.report import check_report_folder, write_report
from evaluate.run import score

NAMES = ("<script>alert('a')</script>", 'quo"te & 猫', "plain", "never there")
SIZE = (200, 100)  # width, height
_VOID = {"meta", "link", "img", "input", "br", "hr"}


def truth(*objects, crowd=(), difficult=()):
    """Make the truth of an image from (class id, xmin, ymin, xmax, ymax)."""
    count = range(len(objects))
    return Sample(
        "folder/<i>picture.jpg",
        SIZE,
        [box for _, *box in objects],
        [class_id for class_id, *_ in objects],
        [i in difficult for i in count],
        [i in crowd for i in count],
        image_id="1",
    )


def found(*rows, names=NAMES):
    """Make the detections of an image from (class id, score, xmin, ymin, xmax, ymax), best first."""
    columns = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2:], SIZE, names)


def findings(truths, detections, names=NAMES, title="val"):
    count = len(truths)
    return Findings(
        list(truths), list(detections), names, tuple(range(1, len(names) + 1)), tuple(range(count)), title
    )


def world():
    """Four images: all right; a confused class and a missed object; a false alarm; a crowd."""
    return findings(
        [
            truth((0, 10, 10, 60, 60), (1, 100, 10, 180, 90)),
            truth((0, 10, 10, 60, 60), (1, 100, 10, 180, 90)),
            truth((2, 20, 20, 120, 90)),
            truth((0, 10, 10, 60, 60), (1, 100, 10, 180, 90), crowd=(1,), difficult=(0,)),
        ],
        [
            found((0, 0.95, 10, 10, 60, 60), (1, 0.9, 101, 10, 180, 90)),
            found((2, 0.85, 100, 10, 180, 90), (0, 0.05, 150, 10, 160, 20)),
            found((2, 0.8, 20, 20, 120, 90), (1, 0.7, 150, 70, 190, 95)),
            found((1, 0.6, 110, 20, 150, 60)),
        ],
    )


def grey(index):
    return np.full((50, 100, 3), 90, np.uint8)


def report(folder, value, *, coco=True, pixels=grey, metric="voc", about=None, head="voc"):
    """Write a report; return its path, its text and the VOC result."""
    voc = score(value, metric=metric)
    measured = evaluate_coco(value) if coco else None
    about = about or {}
    path = write_report(folder, value, voc=voc, coco=measured, pixels=pixels, about=about, metric=head)
    return path, path.read_text(encoding="utf-8"), voc


class Page(HTMLParser):
    """The page's tags, their nesting checked, and the text in some of them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.cells = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]}"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(data for tag, data in self.texts if tag not in ("style", "script"))


def table_rows(text):
    """Return name -> data-v values of the rows of the table by class, as the page states them."""
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = {}
    for row in body.split("<tr>")[1:]:
        name = html.unescape(re.search(r'<th scope="row">(.*?)</th>', row, re.S).group(1))
        rows[name] = re.findall(r'<td data-v="(.*?)"', row)
    return rows


def test_page_is_well_formed_and_has_all_sections(tmp_path):
    _, text, _ = report(tmp_path, world())
    page = Page(text)
    sections = {attributes["id"] for attributes in page.named("section")}
    assert sections == {"classes", "curves", "confusion", "errors", "sizes", "gallery", "thresholds"}
    assert text.startswith("<!DOCTYPE html>")


def test_page_loads_nothing_from_elsewhere(tmp_path):
    _, text, _ = report(tmp_path, world())
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", text)
    (policy,) = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_names_of_users_are_text_and_never_markup(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    value = findings(world().truths, world().detections, title=evil)
    path, text, _ = report(tmp_path, value, about={evil: evil, "prefix": "$(rm) 'x'"})
    page = Page(text)
    assert len(page.named("script")) == 2  # the matrix and the page's own
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(attributes["src"].startswith("data:") for attributes in page.named("img"))
    assert evil in page.text
    assert "<i>picture.jpg" in page.text
    assert "--prefix '$(rm) '\"'\"'x'\"'\"''" in page.text


def test_every_class_is_named_with_the_numbers_of_the_evaluation(tmp_path):
    _, text, voc = report(tmp_path, world())
    rows = table_rows(text)
    assert list(rows) == list(NAMES)
    for result in voc.classes:
        curve = operating_curve(result)
        best = curve.at_best() or ((0, 0, 0) if result.objects else ("", "", ""))
        expected = ["" if result.ap is None else result.ap, curve.threshold, *best]
        expected += [result.objects, result.difficult + result.crowds, result.detections]
        stated = [value if value == "" else float(value) for value in rows[result.name][: len(expected)]]
        assert stated == expected
    assert float(re.search(r'id="map" data-v="(.*?)"', text).group(1)) == voc.mean


def test_coco_columns_are_those_of_the_coco_result(tmp_path):
    value = world()
    _, text, _ = report(tmp_path, value)
    rows, coco = table_rows(text), evaluate_coco(value)
    for c in coco.by_class:
        expected = [c.ap, c.ap50, c.ap75, c.ap_small, c.ap_medium, c.ap_large]
        assert [float(v) if v else None for v in rows[c.name][8:]] == expected
    assert f"{coco.stats['AP']:.4f}" in text


@pytest.mark.parametrize(
    ("head", "coco", "large"), [("coco", True, "AP"), ("voc", True, "mAP"), ("coco", False, "mAP")]
)
def test_large_number_is_of_the_metric_asked_for(tmp_path, head, coco, large):
    value = world()
    _, text, voc = report(tmp_path, value, coco=coco, head=head)
    expected = {"AP": evaluate_coco(value).stats["AP"], "mAP": voc.mean}
    assert expected["AP"] != expected["mAP"]
    assert float(re.search(r'id="map" data-v="(.*?)"', text).group(1)) == expected[large]
    header = Page(text[text.index("<header") : text.index("</header>") + 9]).text
    assert header.count(f"{voc.mean:.4f}") == 1
    assert header.count(f"{expected['AP']:.4f}") == int(coco)


def test_class_with_objects_of_which_none_is_found_counts_as_zero_in_the_means(tmp_path):
    value = findings(
        [truth((0, 10, 10, 60, 60), (1, 100, 10, 180, 90))],
        [found((0, 0.9, 10, 10, 60, 60), names=("found", "lost", "absent"))],
        ("found", "lost", "absent"),
    )
    _, text, voc = report(tmp_path, value, coco=False)
    foot = Page(text[text.index("<tfoot>") : text.index("</tfoot>") + 8]).text.split()
    assert foot[:6] == ["mean,", "sum", "0.5000", "0.500", "0.500", "0.500"]
    assert voc.mean == 0.5
    rows = table_rows(text)
    assert rows["lost"][:5] == ["0.0", "0.5", "0.0", "0.0", "0.0"]
    assert rows["absent"][:5] == ["", "0.5", "", "", ""]
    assert Page(text).text.count("0.5, no data") == 2


def test_detections_too_many_to_draw_are_counted(tmp_path):
    rows = [(0, 0.9 - i / 1000, i, 10, i + 9, 90) for i in range(103)]
    value = findings([truth((0, 150, 10, 199, 99))], [found(*rows, names=("a",))], ("a",))
    voc = score(value)
    assert operating_curve(voc.classes[0]).threshold == 0.5
    _, text, _ = report(tmp_path, value, coco=False)
    assert "3 more detections above the thresholds not drawn" in Page(text).text
    _, text, _ = report(tmp_path, world())
    assert "not drawn" not in Page(text).text


def test_without_coco_the_page_says_so_and_has_no_columns_of_it(tmp_path):
    _, text, _ = report(tmp_path, world(), coco=False)
    assert all(len(values) == 8 for values in table_rows(text).values())
    assert "COCO’s measure was not taken" in Page(text).text


def test_thresholds_file_is_one_that_demo_reads(tmp_path):
    path, _, voc = report(tmp_path, world())
    thresholds = read_thresholds(path.parent / "thresholds.json", NAMES)
    assert thresholds.tolist() == [operating_curve(result).threshold for result in voc.classes]
    assert thresholds[3] == 0.5  # nothing to choose by


def test_command_is_one_that_demo_takes_and_names_the_thresholds_file(tmp_path):
    _, text, _ = report(tmp_path / "my report", world(), about={"prefix": "output/ssd"})
    assert (
        f"--prefix output/ssd --dir YOUR_PICTURES --thresh '{tmp_path}/my report/thresholds.json'"
        in Page(text).text
    )


@pytest.mark.parametrize(
    ("truths", "detections", "names", "says"),
    [
        pytest.param(
            [truth((0, 1, 1, 9, 9))], [found(names=("a",))], ("a",), "found nothing", id="no detections"
        ),
        pytest.param(
            [truth()], [found((0, 0.9, 1, 1, 9, 9))], NAMES, "no truth to judge by", id="no truth at all"
        ),
        pytest.param([truth()], [found()], NAMES, "No object counts", id="neither"),
        pytest.param([], [], NAMES, "No object counts", id="no images"),
        pytest.param(
            [truth((0, 1, 1, 60, 60))],
            [found((0, 0.9, 1, 1, 60, 60), names=("a",))],
            ("a",),
            "No mistake",
            id="one class, all right",
        ),
        pytest.param(
            [truth((0, 1, 1, 60, 60), difficult=(0,))],
            [found((0, 0.9, 1, 1, 60, 60))],
            NAMES,
            "No object counts",
            id="only difficult objects",
        ),
    ],
)
def test_page_is_made_of_whatever_there_is(tmp_path, truths, detections, names, says):
    path, text, _ = report(tmp_path, findings(truths, detections, names))
    page = Page(text)
    assert says in page.text
    content = text[text.index("<body>") : text.rindex("<script>")]
    assert not re.search(r"\bnan\b|undefined|None", re.sub(r"data:image[^\"]*", "", content))
    assert read_thresholds(path.parent / "thresholds.json", names).tolist() == [
        operating_curve(result).threshold for result in score(findings(truths, detections, names)).classes
    ]


def test_large_set_of_many_classes_stays_a_small_page(tmp_path):
    rng = np.random.default_rng(0)
    names = tuple(f"class {i}" for i in range(80))
    truths, detections = [], []
    for _ in range(300):
        corners = rng.uniform(0, 60, (40, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (40, 2))], axis=1)
        ids, scores = rng.integers(80, size=40), -np.sort(-rng.random(40))
        truths.append(truth(*[(i, *box) for i, box in zip(ids[::5].tolist(), boxes[::5].tolist())]))
        detections.append(found(*np.column_stack([ids, scores, boxes]), names=names))
    noise = rng.integers(0, 255, (1500, 2000, 3), dtype=np.uint8)  # what JPEG packs worst
    path, text, _ = report(tmp_path, findings(truths, detections, names), pixels=lambda i: noise, coco=False)
    page = Page(text)
    assert len(page.named("img")) == 24
    assert path.stat().st_size < 6_000_000
    assert all(name in page.text for name in names)
    assert len(re.sub(r"data:image[^\"]*", "", text)) < 1_500_000


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    report(tmp_path, world())
    report(tmp_path, world())  # its own page is replaced
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "notes.txt", "thresholds.json"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "thresholds.json"])
def test_file_of_someone_else_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("<html>my page</html>")
    with pytest.raises(ConfigError, match=rf"{name}: is there and was not written by a report.*--report"):
        report(tmp_path, world())
    assert (tmp_path / name).read_text() == "<html>my page</html>"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(ConfigError, match="report: is a file: give a folder"):
        check_report_folder(tmp_path / "report")


def test_page_cannot_stand_where_a_folder_stands(tmp_path):
    (tmp_path / "index.html").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        check_report_folder(tmp_path)


def test_pictures_that_are_not_at_hand_are_said_to_be(tmp_path):
    def broken(index):
        raise ImageError("data/val.rec, record 2: image is cut short")

    _, text, _ = report(tmp_path / "a", world(), pixels=None)
    assert "The pictures were not at hand" in Page(text).text
    assert Page(text).named("img") == []
    _, text, _ = report(tmp_path / "b", world(), pixels=broken)
    assert "record 2: image is cut short" in Page(text).text


def test_page_works_in_a_browser(tmp_path, browser):
    from selenium.webdriver.common.by import By

    def every(selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def visible(selector):
        return sum(element.is_displayed() for element in every(selector))

    path, _, _ = report(tmp_path, world())
    browser.get(path.as_uri())
    assert all(element.is_displayed() for element in every("section, header, footer"))

    names = [element.text for element in every("tbody th")][: len(NAMES)]
    every("thead button")[0].click()
    by_name = [element.text for element in every(".sortable tbody th")]
    assert by_name != names
    assert sorted(by_name) == sorted(names)
    every("thead button")[1].click()
    values = [float(v) for e in every(".sortable tbody td.ap") if (v := e.get_attribute("data-v"))]
    assert values == sorted(values, reverse=True)
    assert every(".sortable tbody th")[-1].text == "never there"  # without a value: last in both directions
    every("thead button")[1].click()
    assert every(".sortable tbody th")[-1].text == "never there"

    assert len(every(".chart .line.on")) == 4 * 3
    every(".chips button")[0].click()
    assert len(every(".chart .line.on")) == 4 * 2
    every("[data-pick=none]")[0].click()
    assert every(".chart .line.on") == []

    shown = visible(".shot g.found")
    every("[data-toggle=found]")[0].click()
    assert shown > 0
    assert visible(".shot g.found") == 0
    every("[data-toggle=found]")[0].click()
    browser.execute_script(
        "const s = document.querySelector('input[type=range]'); s.value = 0;"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert visible(".shot g.found") == shown + 1  # one of 0.05 lies below the threshold
    every("#suggested")[0].click()
    assert visible(".shot g.found") == shown

    every(".shot .pic")[0].click()
    assert visible("dialog .pic") == 1
    browser.save_screenshot(str(tmp_path / "enlarged.png"))
    every("dialog [data-step='0']")[0].click()
    assert visible("dialog .pic") == 0

    browser.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.get_log("browser") == []


def test_cell_of_the_confusion_matrix_is_read_out(tmp_path, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    path, _, _ = report(tmp_path, world())
    browser.get(path.as_uri())
    ground = browser.find_element(By.CSS_SELECTOR, ".heat .ground")
    browser.execute_script("document.querySelector('#confusion').scrollIntoView()")
    side = ground.rect["width"] / 5
    ActionChains(browser).move_to_element_with_offset(ground, 0, -round(side)).perform()  # row 1, column 2
    assert browser.find_element(By.ID, "cell").text == 'quo"te & 猫 taken for plain: 1 (50.0 % of 2)'


def test_chart_reads_out_the_curves_and_not_the_pointer(tmp_path, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    names = ("good", "late")
    value = findings(
        [truth((0, 10, 10, 60, 60), (1, 100, 10, 180, 90))],
        [found((0, 0.9, 10, 10, 60, 60), (1, 0.6, 0, 0, 5, 5), (1, 0.4, 100, 10, 180, 90), names=names)],
        names,
    )
    path, _, _ = report(tmp_path, value)
    browser.get(path.as_uri())
    chart = browser.find_element(By.CSS_SELECTOR, ".chart[data-key=f1]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    catch = chart.find_element(By.CSS_SELECTOR, ".catch")
    width, height = catch.rect["width"], catch.rect["height"]
    for across, up, late in ((0.2, 0.1, "0.67"), (0.2, 0.9, "0.67"), (0.5, 0.5, "0.00"), (0.95, 0.5, "0.00")):
        x, y = round((across - 0.5) * width), round((0.5 - up) * height)
        ActionChains(browser).move_to_element_with_offset(catch, x, y).perform()
        said = chart.find_element(By.CSS_SELECTOR, ".readout").text
        good = "1.00" if across < 0.9 else "0.00"
        mean = f"{(float(good) + (2 / 3 if late == '0.67' else 0)) / 2:.2f}"
        assert sorted(said.split(": ")[1].split(" · ")) == [f"good {good}", f"late {late}", f"mean {mean}"]
        assert said.startswith(f"F1 at score threshold {across:.2f}")


def test_class_names_of_the_matrix_stay_in_view_on_a_phone(tmp_path, browser):
    from selenium.webdriver.common.by import By

    names = tuple(f"class {i}" for i in range(30))
    value = findings([truth((0, 10, 10, 60, 60))], [found((0, 0.9, 10, 10, 60, 60), names=names)], names)
    path, _, _ = report(tmp_path, value, coco=False)
    browser.set_window_size(500, 800)
    browser.get(path.as_uri())
    scroll = browser.find_element(By.CSS_SELECTOR, ".heatbox .scroll")
    label = browser.find_elements(By.CSS_SELECTOR, ".heat.names .label")[0]
    cells = browser.find_element(By.CSS_SELECTOR, ".heat.cells")
    label_before, cells_before = label.rect["x"], cells.rect["x"]
    browser.execute_script("arguments[0].scrollLeft = 200", scroll)
    assert cells.rect["x"] == pytest.approx(cells_before - 200, abs=1)
    assert label.rect["x"] == pytest.approx(label_before, abs=1)
    ground = browser.find_element(By.CSS_SELECTOR, ".heat .ground").rect
    middle = label.rect["y"] + label.rect["height"] / 2  # beside its row: both drawings have one scale
    assert ground["y"] < middle < ground["y"] + ground["height"] / 31


def test_difficult_objects_that_were_counted_are_judged_like_all_others(tmp_path):
    value = findings([truth((0, 10, 10, 60, 60), difficult=(0,))], [found()])
    for use_difficult, says in ((True, "1. <i>picture.jpg"), (False, "Nothing was found")):
        voc = score(value, use_difficult=use_difficult)
        path = write_report(tmp_path, value, voc=voc, coco=None, pixels=None, about={})
        assert says in Page(path.read_text(encoding="utf-8")).text
