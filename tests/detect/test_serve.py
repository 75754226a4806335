"""The local server's answers, by Flask's own client; and the server itself on a free port."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from waitress import wasyncore

from common.errors import CheckpointError, ConfigError, DependencyError
from common.images import decode
from common.mx import mx
from dataset.scenes import CLASS_NAMES, draw_scene
from detect.detector import Detector
from detect.serve import make_app, serve
from detect.serve.server import address, listen, make_server
from tests.detect.quarters import quarters


@pytest.fixture
def detector(toy):
    return Detector.from_saved(toy, context=mx.cpu())


@pytest.fixture
def client(detector):
    return make_app(detector).test_client()


def encoded(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def send(client, data, name="photo.png", to="/detect", **options):
    return client.post(to, data={"image": (io.BytesIO(data), name)}, **options)


RED_AND_BLUE = quarters("red", "", "", "blue", size=(161, 119))


def test_what_is_answered_is_what_the_detector_finds(client, toy):
    data = encoded(RED_AND_BLUE)
    answer = send(client, data, "größe 1.png").json
    expected = Detector.from_saved(toy, context=mx.cpu()).detect(RED_AND_BLUE)
    assert {entry["class_name"] for entry in answer["detections"]} == {"red", "blue"}
    assert answer["detections"] == expected.as_records()
    assert (answer["file"], answer["size"]) == ("größe 1.png", [161, 119])
    assert (answer["threshold"], answer["score_threshold"]) == (0.5, 0.1)
    assert set(answer["seconds"]) == {"wait", "decode", "detect"}
    assert all(value >= 0 for value in answer["seconds"].values())
    assert answer["as_browsers_show"] is True


def test_a_threshold_in_the_address_selects(client):
    data = encoded(RED_AND_BLUE)
    assert len(send(client, data, to="/detect?threshold=0.9").json["detections"]) == 2
    answer = send(client, data, to="/detect?threshold=0.9999").json
    assert (answer["detections"], answer["score_threshold"], answer["threshold"]) == ([], 0.9999, 0.9999)
    assert send(client, data, to="/detect?threshold=0.02").json["score_threshold"] == 0.1


@pytest.mark.parametrize("text", ["1", "-0.1", "nan", "high", ""])
def test_a_threshold_in_the_address_that_cannot_be_is_told(client, text):
    answer = send(client, encoded(RED_AND_BLUE), to=f"/detect?threshold={text}")
    assert answer.status_code == 400
    assert answer.json["error"] == f"threshold={text}: expected a number from 0 to below 1"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("TIFF", "RGB")],
)
def test_every_kind_of_picture_is_looked_at(client, kind, mode):
    answer = send(client, encoded(Image.fromarray(RED_AND_BLUE).convert(mode), kind), "x")
    assert sorted(entry["class_name"] for entry in answer.json["detections"]) == ["blue", "red"]
    assert answer.json["as_browsers_show"] is (kind != "TIFF")


def test_a_grey_picture_has_no_colours(client):
    answer = send(client, encoded(Image.new("L", (80, 60), 255)))
    assert (answer.status_code, answer.json["detections"], answer.json["size"]) == (200, [], [80, 60])


def test_a_picture_that_a_camera_turned_is_looked_at_upright(client):
    upright = encoded(RED_AND_BLUE, "JPEG", quality=95, subsampling=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    turned = Image.fromarray(RED_AND_BLUE).transpose(Image.Transpose.ROTATE_90)
    stored = encoded(turned, "JPEG", quality=95, subsampling=0, exif=exif)
    assert Image.open(io.BytesIO(stored)).size == (119, 161)
    answer, expected = send(client, stored).json, send(client, upright).json
    assert answer["size"] == [161, 119]
    assert [entry["box"] for entry in answer["detections"]] == [e["box"] for e in expected["detections"]]
    assert answer["as_browsers_show"] is True


def with_xmp():
    return encoded(RED_AND_BLUE, "JPEG", xmp=b'<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>')


def with_frames():
    other = Image.fromarray(255 - RED_AND_BLUE)
    return encoded(RED_AND_BLUE, "GIF", save_all=True, append_images=[other])


def with_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(RED_AND_BLUE, "PNG", exif=exif)


@pytest.mark.parametrize("make", [with_xmp, with_frames, with_exif])
def test_a_picture_that_browsers_show_otherwise_is_handed_back_as_it_was_looked_at(client, make):
    data = make()
    assert send(client, data).json["as_browsers_show"] is False
    answer = send(client, data, to="/picture")
    assert answer.content_type == "image/png"
    shown = np.array(Image.open(io.BytesIO(answer.data)))
    np.testing.assert_array_equal(shown, decode(data, "the same"))


@pytest.mark.parametrize("where", ["/detect", "/picture"])
@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"hello", 415, "photo.png: not an image that can be decoded: it is text beginning 'hello'"),
        (b"", 415, "photo.png: not an image that can be decoded: it is empty (0 bytes)"),
        (encoded(quarters("red", "green"), "JPEG")[:-400], 400, "photo.png: image is damaged or cut short"),
        (
            encoded(Image.new("1", (20000, 20000))),
            413,
            f"photo.png: the picture has over {2 * Image.MAX_IMAGE_PIXELS} pixels, the limit is 64000000 pixels",
        ),
    ],
    ids=["text", "empty", "truncated", "bomb"],
)
def test_what_is_no_whole_picture_is_refused_with_a_sentence(client, where, data, status, words):
    answer = send(client, data, "photo.png", where)
    assert answer.status_code == status
    assert answer.json["error"].startswith(words)
    assert "/" not in answer.json["error"]


def test_the_name_says_nothing_about_the_kind(client):
    assert send(client, encoded(RED_AND_BLUE, "JPEG"), "notes.txt").status_code == 200


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("../../etc/passwd", "passwd"),
        (r"C:\\Users\\me\\a b.png", "a b.png"),  # curl doubles them inside the quotes
        ("<script>.png", "<script>.png"),
        ("a\tb.png", "a�b.png"),
        ("x" * 500, "x" * 200),
    ],
)
def test_names_come_without_folders_and_control_characters(client, sent, name):
    assert send(client, encoded(RED_AND_BLUE), sent).json["file"] == name


def test_a_large_upload_is_refused_with_the_limit_and_its_size(detector):
    client = make_app(detector, max_upload_mb=0.3).test_client()
    answer = send(client, bytes(1_000_000))
    assert answer.status_code == 413
    assert re.fullmatch(
        r"the upload has 1 MB, the limit is 0\.3 MB: make the picture smaller", answer.json["error"]
    )
    just_over = send(client, bytes(300_001))
    assert just_over.status_code == 413
    assert "has 300001 bytes, the limit is 300000 bytes" in just_over.json["error"]
    assert send(client, bytes(300_000)).status_code == 415  # looked at, and no picture


def test_a_form_of_long_texts_is_refused_as_such(client):
    answer = client.post("/detect", data={"image": "x" * 600_000}, content_type="multipart/form-data")
    assert answer.status_code == 413
    assert "too much that is no file" in answer.json["error"]


def test_uploads_are_not_written_to_disk(client, monkeypatch):
    noise = encoded(np.random.RandomState(0).randint(0, 256, (900, 900, 3), np.uint8))
    assert len(noise) > 2_000_000  # four times what Werkzeug holds in memory

    def refuse(*args, **kwargs):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    assert send(client, noise).status_code == 200


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "no picture in the form field 'image': send one"),
        ({"image": "a text"}, "no picture in the form field 'image': send one"),
        ({"file": (io.BytesIO(b"x"), "x.png")}, "(found the fields 'file')"),
        ({"image": [(io.BytesIO(b"x"), "x"), (io.BytesIO(b"y"), "y")]}, "2 pictures in one request"),
    ],
)
def test_a_request_without_one_picture_is_told_so(client, form, words):
    answer = client.post("/detect", data=form, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert words in answer.json["error"]


def test_threads_that_ask_at_once_get_their_own_answers(client, detector):
    names = ("red", "green", "blue", "")
    arranged = [(a, b, c, d) for a in names for b in names for c in names for d in names][::11]
    application = client.application

    def ask(arrangement):
        pixels = quarters(*arrangement, size=(100 + 2 * names.index(arrangement[1]), 80))
        answer = send(application.test_client(), encoded(pixels)).json
        boxes = {(entry["class_name"], *map(round, entry["box"])) for entry in answer["detections"]}
        width, height = answer["size"]
        expected = {
            (
                name,
                i % 2 * width // 2,
                i // 2 * height // 2,
                (i % 2 + 1) * width // 2,
                (i // 2 + 1) * height // 2,
            )
            for i, name in enumerate(arrangement)
            if name
        }
        return boxes == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, arranged * 2))


def test_the_detector_is_used_by_one_thread_alone(detector, monkeypatch):
    seen, original = set(), detector.detect
    monkeypatch.setattr(
        detector, "detect", lambda pixels: (seen.add(threading.get_ident()), original(pixels))[1]
    )
    application = make_app(detector)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: send(application.test_client(), encoded(RED_AND_BLUE)), range(8)))
    assert len(seen) == 1


def test_the_model_is_described_without_its_folder(toy, tmp_path):
    client = make_app(Detector.from_saved(toy, context=mx.cpu()), threshold=[0.2, 0.3, 0.4]).test_client()
    about = client.get("/model").json
    assert about["name"] == "toy"
    assert about["class_names"] == ["red", "green", "blue"]
    assert about["input_size"] == [64, 64]
    assert about["threshold"] == [0.2, 0.3, 0.4]
    assert about["score_threshold"] == 0.1
    assert about["max_upload_bytes"] == 20_000_000
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in about["colours"] + about["inks"])
    assert len(about["colours"]) == len(about["inks"]) == 3


def test_a_model_on_disk_is_named_by_its_last_part(toy_prefix):
    about = make_app(Detector(toy_prefix, context=mx.cpu())).test_client().get("/model").json
    assert (about["name"], about["epoch"]) == ("toy", 3)


def test_scenes_are_drawn_for_a_detector_of_scenes_alone(client, toy):
    assert client.get("/model").json["draws_scenes"] is False
    assert client.get("/scene").status_code == 404

    class Scenes:
        prefix, epoch = "x/scenes", 1
        card = dataclasses.replace(toy.card, class_names=tuple(CLASS_NAMES))

    client = make_app(Scenes()).test_client()
    assert client.get("/model").json["draws_scenes"] is True
    drawn = np.array(Image.open(io.BytesIO(client.get("/scene?seed=7").data)))
    np.testing.assert_array_equal(drawn, draw_scene(7, (480, 480), empty_share=0.0)[0])
    assert client.get("/scene?seed=-1").status_code == 400


def test_the_page_and_its_files_are_served_and_nothing_else(client):
    page = client.get("/")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    names = set(re.findall(r'(?:src|href)="([^"]+)"', page.text))
    assert {"style.css", "page.js"} <= names
    imported = {"page.js"}
    for name in sorted(names | {"boxes.js", "choice.js", "downloads.js", "highlight.js", "server.js"}):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        imported |= set(re.findall(r'from "\./([^"]+)"', answer.text))
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), name
        assert "innerHTML" not in answer.text
    assert imported == {"page.js", "boxes.js", "choice.js", "downloads.js", "highlight.js", "server.js"}
    for name in ("", "page", "app.py", "../app.py", "..%2fapp.py", "page/", "static/page.js"):
        assert client.get(f"/none/{name}" if not name else f"/{name}").status_code == 404, name


def test_every_answer_has_the_headers_that_keep_it_to_itself(client):
    answers = [
        client.get("/"),
        client.get("/model"),
        client.get("/nowhere"),
        client.get("/detect"),
        send(client, b"x"),
        client.get("/", headers={"Host": "evil.example"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 405, 415, 403]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    for answer in answers[2:]:
        assert list(answer.json) == ["error"]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"]
)
def test_this_machine_may_be_asked_by_its_own_names(client, host):
    assert client.get("/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.168.1.9",
        "",
        "[::1",
        "a@localhost.x",
    ],
)
def test_other_names_are_refused(client, host):
    answer = client.get("/model", headers={"Host": host})
    assert answer.status_code == 403
    assert repr(host) in answer.json["error"]
    assert send(client, encoded(RED_AND_BLUE), headers={"Host": host}).status_code == 403


def test_the_name_that_was_bound_is_answered_to_and_any_where_it_listens_everywhere(detector):
    named = make_app(detector, host="Box.lan").test_client()
    assert named.get("/model", headers={"Host": "box.lan:80"}).status_code == 200
    assert named.get("/model", headers={"Host": "evil.example"}).status_code == 403
    for everywhere in ("0.0.0.0", "::"):
        client = make_app(detector, host=everywhere).test_client()
        assert client.get("/model", headers={"Host": "any.example"}).status_code == 200
    both = make_app(detector, host=("box.lan", "192.168.0.9")).test_client()
    for name, status in (("box.lan", 200), ("192.168.0.9:8000", 200), ("192.168.0.8", 403)):
        assert both.get("/model", headers={"Host": name}).status_code == status


@pytest.mark.parametrize("host", ["0", "0.0", "0.0.0.0", "0x0", "::", "0::0", "::ffff:0.0.0.0", "127.1"])
def test_whether_it_listens_everywhere_is_told_by_the_address_of_its_socket(
    detector, monkeypatch, capsys, host
):
    try:
        listen(host, 0).close()
    except ConfigError:
        pytest.skip(f"this system does not listen on {host}")
    ran = []
    monkeypatch.setattr("detect.serve.server.run", lambda server, looker: (ran.append(1), server.close()))
    serve(detector, host=host, port=0)
    out, everywhere = capsys.readouterr().out, host != "127.1"
    assert ("whoever reaches this machine" in out) is everywhere
    assert re.match(r"serving http://localhost:\d+ " if everywhere else r"serving http://127\.1:\d+ ", out)
    assert ran == [1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_may_not_send_pictures(client, headers, status):
    for where in ("/detect", "/picture"):
        answer = send(client, encoded(RED_AND_BLUE), to=where, headers={"Host": "localhost:8000", **headers})
        assert answer.status_code == status
        assert status == 200 or "another site" in answer.json["error"]


def test_a_failure_inside_names_no_file_of_this_machine(client, detector, monkeypatch, caplog):
    def fail(pixels):
        raise CheckpointError("/home/somebody/model/toy: the network gives values that are not finite")

    monkeypatch.setattr(detector, "detect", fail)
    answer = send(client, encoded(RED_AND_BLUE))
    assert answer.status_code == 500
    assert "somebody" not in answer.text
    assert "somebody" in caplog.text


def test_a_request_is_one_line_at_debug(client, caplog):
    with caplog.at_level(logging.DEBUG, "detect.serve"):
        send(client, encoded(RED_AND_BLUE))
    lines = [record for record in caplog.records if record.name.startswith("detect.serve")]
    assert len(lines) == 1
    assert lines[0].levelno == logging.DEBUG
    assert re.fullmatch(r"POST /detect 200 \d+\.\d{3} s", lines[0].getMessage())


@pytest.mark.parametrize("threshold", [1.0, -0.1, float("nan"), [0.5, 0.5], [0.5, 0.5, 2.0]])
def test_thresholds_that_cannot_be_are_refused(detector, threshold):
    with pytest.raises(ConfigError, match="threshold is .*expected a number from 0 to below 1"):
        make_app(detector, threshold=threshold)


def test_an_upload_limit_of_nothing_is_refused(detector):
    with pytest.raises(ConfigError, match="max_upload_mb is 0"):
        make_app(detector, max_upload_mb=0)


def blank(mode, width, height, kind="PNG"):
    return encoded(Image.new(mode, (width, height)), kind)


@pytest.mark.parametrize("where", ["/detect", "/picture"])
@pytest.mark.parametrize(
    ("mode", "width", "height", "found"),
    [
        ("RGB", 101, 80, "101 x 80 = 8080 pixels, the limit is 8000 pixels"),
        ("RGB", 100, 80, ""),
        ("1", 8001, 1, "8001 x 1 = 8001 pixels, the limit is 8000 pixels"),
        ("I;16", 3001, 1, "3001 x 1 = 3001 pixels, the limit for grey of over 8 bits is 3000 pixels"),
        ("I;16", 60, 50, ""),
    ],
)
def test_a_picture_of_too_many_pixels_is_refused_and_one_at_the_limit_is_not(
    detector, where, mode, width, height, found
):
    client = make_app(detector, max_pixels=8000).test_client()
    answer = send(client, blank(mode, width, height), to=where)
    if found:
        assert answer.status_code == 413
        assert answer.json["error"] == f"photo.png: the picture has {found}: make the picture smaller"
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_the_pixels_of_every_kind_of_picture_are_counted(detector, kind):
    client = make_app(detector, max_pixels=4799).test_client()
    assert send(client, blank("RGB", 80, 60, kind)).status_code == 413


def test_a_picture_of_too_many_pixels_is_never_decoded(client, monkeypatch):
    def refuse(self):
        raise AssertionError("decoded")

    deep, plain = blank("I;16", 7000, 7000), blank("1", 8001, 8000)
    assert len(deep) < 200_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert [send(client, data).status_code for data in (deep, plain)] == [413, 413]
    assert send(client, blank("1", 8000, 8000)).status_code == 500  # at the limit: is decoded


def test_a_pixel_limit_of_nothing_is_refused(detector):
    with pytest.raises(ConfigError, match="max_pixels is 0"):
        make_app(detector, max_pixels=0)


@pytest.mark.parametrize("missing", ["flask", "waitress"])
def test_a_missing_library_is_named_with_the_command_that_brings_it(detector, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)  # what Python takes for a module that is not there
    with pytest.raises(
        DependencyError, match=f"--serve needs the Python package {missing}.*pip install flask waitress"
    ):
        serve(detector, port=0)


def test_importing_the_server_imports_no_optional_library(project_root):
    code = (
        "import sys, detect.serve; print([n for n in ('flask', 'waitress', 'werkzeug') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_port_that_is_taken_is_told_with_the_flag(detector):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: is taken on 127\.0\.0\.1.*another --port"):
            serve(detector, port=port)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 70000, "--port 70000: expected a number from 0 to 65535"),
        ("127.0.0.1", -1, "--port -1: expected"),
        ("no-such-host.invalid", 0, "--host no-such-host.invalid: no such name"),
        ("192.0.2.1", 0, "--host 192.0.2.1: is not an address of this machine"),
        ("", 0, "--host is empty"),
    ],
)
def test_an_address_that_cannot_be_is_told(host, port, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        listen(host, port)


def test_addresses_can_be_opened_in_a_browser():
    assert address("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address("::1", 80) == "http://[::1]:80"
    assert address("0.0.0.0", 8000) == address("::", 8000) == "http://localhost:8000"


@pytest.fixture
def served(detector):
    """The application on a free port: (host, port)."""
    with listen("127.0.0.1", 0) as listening:
        server = make_server(make_app(detector, max_upload_mb=1), listening, max_upload_mb=1)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield listening.getsockname()
        # In its own thread, with the connections that are open still.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map, ignore_all=True))
        server.task_dispatcher.shutdown()
        thread.join(10)
        assert not thread.is_alive()


def multipart(data):
    head = b'--xx\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + data + b"\r\n--xx--\r\n", {"Content-Type": "multipart/form-data; boundary=xx"}


def test_the_server_answers_uploads_whole_and_in_chunks(served):
    body, headers = multipart(encoded(RED_AND_BLUE))
    for sent in (body, iter([body[:50], body[50:]])):
        connection = http.client.HTTPConnection(*served, timeout=60)
        connection.request("POST", "/detect", sent, headers, encode_chunked=not isinstance(sent, bytes))
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())["detections"]) == 2
        assert answer.getheader("Server") is None
        connection.close()


def test_the_server_refuses_large_uploads_in_words_and_endless_ones_unread(served):
    body, headers = multipart(bytes(1_500_000))
    connection = http.client.HTTPConnection(*served, timeout=60)
    connection.request("POST", "/detect", body, headers)
    answer = connection.getresponse()
    assert (answer.status, "limit is 1 MB" in json.loads(answer.read())["error"]) == (413, True)
    connection.close()
    with socket.create_connection(served, timeout=60) as raw:
        raw.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000000\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert (answer.status, answer.getheader("Content-Type")) == (413, "application/json")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert json.loads(answer.read()) == {
            "error": "the upload has 9e+05 MB, the limit is 1 MB: make the picture smaller"
        }


def test_what_is_no_http_is_told_in_json(served):
    with socket.create_connection(served, timeout=60) as raw:
        raw.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert (answer.status, json.loads(answer.read())) == (
            400,
            {"error": "Bad Request: Content-Length is invalid"},
        )


def test_half_open_requests_do_not_keep_others_out_and_are_closed(detector, monkeypatch):
    monkeypatch.setattr("detect.serve.server._SILENCE", 1)
    monkeypatch.setattr("detect.serve.server._SWEEP", 1)
    with listen("127.0.0.1", 0) as listening, contextlib.ExitStack() as stack:
        server = make_server(make_app(detector), listening)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        place = listening.getsockname()
        half_open = [stack.enter_context(socket.create_connection(place, timeout=30)) for _ in range(130)]
        for raw in half_open:
            raw.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nx")
        connection = http.client.HTTPConnection(*place, timeout=30)
        connection.request("GET", "/model")
        assert connection.getresponse().status == 200
        connection.close()
        assert [raw.recv(1) for raw in half_open] == [b""] * 130  # the server's end is closed
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map, ignore_all=True))
        server.task_dispatcher.shutdown()
        thread.join(10)


_SERVING = """
import sys
from common.command import command
from common.mx import mx
from detect.detector import Detector
from detect.engine import use_synchronous_engine
from detect.serve import serve

@command
def main(argv):
    use_synchronous_engine([mx.cpu()])
    serve(Detector(argv[0], context=mx.cpu()), port=0)
    return 0

sys.exit(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_the_command_prints_its_address_answers_and_ends_at_control_c(toy_prefix, project_root):
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVING, toy_prefix],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stdout.readline()
        found = re.fullmatch(r"serving (http://127\.0\.0\.1:\d+) \(Ctrl-C ends\)\n", first)
        assert found, first or process.stderr.read()
        body, headers = multipart(encoded(RED_AND_BLUE))
        request = urllib.request.Request(f"{found.group(1)}/detect", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["detections"]) == 2
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out.strip(), errors) == (0, "stopped", "")
    finally:
        process.kill()


_SLOW = """
import time
from detect.serve.looker import Looker
original = Looker._look
Looker._look = lambda *arguments: (print("looking", flush=True), time.sleep(1), original(*arguments))[2]
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_at_control_c_those_who_wait_are_told_and_the_picture_that_is_looked_at_is_finished(
    toy_prefix, project_root
):
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW + _SERVING, toy_prefix],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(re.search(r":(\d+) ", process.stdout.readline()).group(1))
        body, headers = multipart(encoded(RED_AND_BLUE))
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(12)]
        for connection in connections:
            connection.request("POST", "/detect", body, headers)
        assert process.stdout.readline() == "looking\n"
        process.send_signal(signal.SIGINT)
        answers = [connection.getresponse() for connection in connections]
        texts = [json.loads(answer.read()) for answer in answers]
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out.strip(), errors) == (0, "stopped", "")
        assert sorted(answer.status for answer in answers) == [200] + [503] * 11
        assert {text["error"].split(":")[0] for text in texts if "error" in text} == {
            "the server is stopping"
        }
        for connection in connections:
            connection.close()
    finally:
        process.kill()
