"""Downloads against servers on this computer that cut, hang, change, lie and send elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common import download as module
from common.checksum import Checksum
from common.download import download
from common.errors import ConfigError
from common.transfer import DownloadError, Transfer

CONTENT = bytes(range(256)) * 4000  # 1 MB
QUICK = Transfer(timeout=2, first_wait=0.01, longest_wait=0.05, attempts=3)


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, with faults: each request takes the next of `faults`, a function of the handler, or None."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.changed = CONTENT, '"one"', None
        self.ranges, self.tells_length = True, True
        self.faults, self.asked = [], []

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is what many of these tests are about

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append({key.lower(): value for key, value in self.headers.items()} | {"path": self.path})
        fault = server.faults.pop(0) if server.faults else None
        if fault is None or fault(self) is not True:
            self.serve()

    def serve(self, cut=None):
        server, begin = self.server, 0
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range") in (server.tag, server.changed):
            begin = int(asked[len("bytes=") : -1])
        if begin >= len(server.content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(server.content) - begin))
        for name, value in (("ETag", server.tag), ("Last-Modified", server.changed)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(server.content[begin : cut and begin + cut])


def cut_after(count):
    """A fault: the connection ends after so many bytes of the body."""
    return lambda handler: handler.serve(cut=count) or True


def answer(code, **headers):
    """A fault: another answer than the file."""

    def fault(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server():
    with running(Server()) as there:
        yield there


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def part_of(path):
    return Path(f"{path}.part")


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server, tmp_path):
    path = download(server.url, tmp_path / "new" / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT
    assert left_in(path.parent) == ["w.bin"]


def test_a_good_file_is_not_fetched_again(server, tmp_path):
    checksum = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
    path = download(server.url, tmp_path / "w.bin", checksum=checksum, transfer=QUICK)
    download(server.url, path, checksum=checksum, size=len(CONTENT), transfer=QUICK)
    assert len(server.asked) == 1


@pytest.mark.parametrize("mark", ["etag", "date"])
def test_a_cut_download_goes_on_where_it_ended(server, tmp_path, mark):
    if mark == "date":
        server.tag, server.changed = 'W/"weak"', "Mon, 01 Jan 2018 00:00:00 GMT"
    server.faults = [cut_after(300_000), cut_after(100_000)]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT
    assert [asked.get("range") for asked in server.asked] == [None, "bytes=300000-", "bytes=400000-"]
    assert server.asked[1]["if-range"] == (server.changed or server.tag)


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.faults = [cut_after(200_000), answer(503), answer(503)]
    with pytest.raises(DownloadError, match=r"gave up after 3 .* 200000 bytes are kept in .*w\.bin\.part"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert part_of(tmp_path / "w.bin").read_bytes() == CONTENT[:200_000]
    download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert server.asked[-1]["range"] == "bytes=200000-"


def test_attempts_that_gain_much_do_not_count_as_failures(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GAIN", 100_000)
    server.faults = [cut_after(100_000) for _ in range(8)]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 9


def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    server.ranges = False
    server.faults = [cut_after(300_000)]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT
    assert server.asked[1]["range"] == "bytes=300000-"


def test_a_server_that_marks_nothing_is_asked_for_all_of_it(server, tmp_path):
    server.tag = ""
    server.faults = [cut_after(300_000)]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT
    assert "range" not in server.asked[1]


def test_a_file_that_changed_between_attempts_is_fetched_anew(server, tmp_path):
    def change(handler):
        handler.serve(cut=300_000)
        handler.server.content, handler.server.tag = CONTENT[::-1], '"two"'
        return True

    server.faults = [change]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_rest_of_another_file_is_not_taken(server, tmp_path):
    """A server that answers 206 although If-Range no longer holds: its own ETag gives it away."""

    def change(handler):
        handler.serve(cut=300_000)
        handler.server.content = CONTENT[::-1]
        return True

    def lie(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 300000-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("ETag", '"two"')
        handler.end_headers()
        handler.wfile.write(CONTENT[::-1][300_000:])
        return True

    server.faults = [change, lie]
    path = download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_rest_of_a_file_of_another_length_is_not_taken(server, tmp_path):
    def lie(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 300000-300009/300010")
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(b"0123456789")
        return True

    server.faults = [cut_after(300_000), lie]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT


def test_a_rest_from_another_place_is_not_taken(server, tmp_path):
    def lie(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(CONTENT)
        return True

    server.faults = [cut_after(300_000), lie]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_part_of_another_address_is_not_used(server, tmp_path):
    part_of(tmp_path / "w.bin").write_bytes(b"x" * 1000)
    notes = {"url": "https://elsewhere.example/w", "mark": server.tag, "total": len(CONTENT)}
    (tmp_path / "w.bin.part.json").write_text(json.dumps(notes))
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize("notes", ["", "{", "[]", '{"url": 1}', '{"url": "x", "mark": "y"}'])
def test_a_part_with_damaged_notes_is_not_used(server, tmp_path, notes):
    part_of(tmp_path / "w.bin").write_bytes(b"x" * 1000)
    (tmp_path / "w.bin.part.json").write_text(notes)
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT


def test_a_rest_that_cannot_be_is_asked_for_anew(server, tmp_path):
    """416: the file became shorter than what is here, and the server sees that before it looks at the ETag."""
    server.faults = [cut_after(300_000), answer(416)]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert "range" not in server.asked[2]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("digits", [8, None])
def test_a_checksum_may_be_whole_or_its_first_digits(server, tmp_path, algorithm, digits):
    stated = hashlib.new(algorithm, CONTENT).hexdigest()[:digits]
    path = download(server.url, tmp_path / "w.bin", checksum=Checksum(algorithm, stated), transfer=QUICK)
    assert path.is_file()


def test_a_wrong_checksum_names_both_and_leaves_no_file(server, tmp_path):
    with pytest.raises(DownloadError) as caught:
        download(server.url, tmp_path / "w.bin", checksum=Checksum("sha1", "0" * 40), transfer=QUICK)
    assert hashlib.sha1(CONTENT).hexdigest() in str(caught.value)
    assert "0" * 40 in str(caught.value)
    assert left_in(tmp_path) == []


def test_a_wrong_piece_of_an_earlier_run_is_fetched_anew(server, tmp_path):
    checksum = Checksum("sha1", hashlib.sha1(CONTENT).hexdigest())
    server.faults = [cut_after(200_000), answer(503), answer(503)]
    with pytest.raises(DownloadError, match="gave up"):
        download(server.url, tmp_path / "w.bin", checksum=checksum, transfer=QUICK)
    with open(part_of(tmp_path / "w.bin"), "rb+") as stream:
        stream.write(b"damage")
    path = download(server.url, tmp_path / "w.bin", checksum=checksum, transfer=QUICK)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("algorithm", "digits"), [("md5", "0" * 32), ("sha1", "0" * 7), ("sha1", "0" * 41), ("sha1", "G" * 40)]
)
def test_a_checksum_that_cannot_be_is_refused(algorithm, digits):
    with pytest.raises(ConfigError, match="expected"):
        Checksum(algorithm, digits)


@pytest.mark.parametrize("stated", [{"size": 5}, {"checksum": Checksum("sha1", "0" * 40)}])
def test_another_file_of_the_name_is_neither_taken_nor_replaced(server, tmp_path, stated):
    path = tmp_path / "w.bin"
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="is there, and is another file"):
        download(server.url, path, transfer=QUICK, **stated)
    assert path.read_bytes() == b"mine"
    assert server.asked == []


def test_a_file_of_another_size_is_refused_before_it_comes(server, tmp_path):
    with pytest.raises(DownloadError, match=f"has {len(CONTENT)} bytes, expected 5"):
        download(server.url, tmp_path / "w.bin", size=5, transfer=QUICK)
    assert left_in(tmp_path) == []


def test_a_file_beyond_the_bound_is_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="expected 1000 at most"):
        download(server.url, tmp_path / "w.bin", transfer=Transfer(limit=1000))


def chunked(content, last=True):
    """A fault: the file in chunks, without its length."""

    def fault(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for place in range(0, len(content), 100_000):
            block = content[place : place + 100_000]
            with contextlib.suppress(OSError):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        if last:
            with contextlib.suppress(OSError):
                handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True
        return True

    return fault


def test_chunks_without_a_length_are_taken_once_their_end_came(server, tmp_path):
    server.faults = [chunked(CONTENT[:500_000], last=False), chunked(CONTENT)]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_chunks_beyond_the_bound_stop_on_the_way(server, tmp_path):
    server.faults = [chunked(CONTENT)]
    with pytest.raises(DownloadError, match="expected 300000 at most"):
        download(server.url, tmp_path / "w.bin", transfer=Transfer(limit=300_000))


def test_a_length_that_nobody_tells_is_refused(server, tmp_path):
    server.tells_length = False
    with pytest.raises(DownloadError, match="does not say how long"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert download(server.url, tmp_path / "w.bin", size=len(CONTENT), transfer=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("code", "words"),
    [(404, "gone, or the address is wrong"), (410, "gone"), (403, "not give the file"), (418, "answers 418")],
)
def test_an_answer_that_will_not_change_is_not_asked_for_again(server, tmp_path, code, words):
    server.faults = [answer(code)] * 5
    with pytest.raises(DownloadError, match=words):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_asked_for_again(server, tmp_path, code):
    server.faults = [answer(code), answer(code)]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_attempts_are_bounded(server, tmp_path):
    server.faults = [answer(500)] * 9
    with pytest.raises(DownloadError, match=r"gave up after 3 attempts in a row: the server answers 500"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert len(server.asked) == 3


def test_waits_double_up_to_a_bound_and_heed_the_server():
    patience = Transfer(first_wait=1, longest_wait=30)
    assert [patience.wait(number, None) for number in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert patience.wait(1, 7.0) == 7
    assert patience.wait(1, 1e9) == 30


def test_a_server_asks_for_a_wait(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    server.faults = [answer(503, Retry_After="7"), answer(503, Retry_After="soon")]
    download(server.url, tmp_path / "w.bin", transfer=Transfer(first_wait=1))
    assert waits == [7, 2]


def test_a_file_sent_packed_is_refused(server, tmp_path):
    server.faults = [answer(200, Content_Encoding="gzip")]
    with pytest.raises(DownloadError, match="sends the file as gzip"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_on_this_computer_is_followed(server, tmp_path, code):
    server.faults = [answer(code, Location=f"{server.url}?moved")]
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert server.asked[1]["path"].endswith("?moved")


@pytest.mark.parametrize(
    "target", ["http://weights.example/w.bin", "ftp://127.0.0.1/w.bin", "file:///etc/hosts"]
)
def test_a_redirect_to_anything_but_https_is_refused(server, tmp_path, target):
    server.faults = [answer(302, Location=target)]
    with pytest.raises(DownloadError, match="not https|answers 302"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert left_in(tmp_path) == []


def test_redirects_in_a_circle_end(server, tmp_path):
    server.faults = [answer(302, Location=server.url)] * 50
    with pytest.raises(DownloadError, match="302"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)


@pytest.mark.parametrize(
    "url",
    [
        "http://weights.example/w.bin",
        "http://127.0.0.1.example/w.bin",
        "http://localhost@weights.example/w.bin",
        "ftp://localhost/w.bin",
        "file:///etc/hosts",
        "weights.example/w.bin",
        "https:///w.bin",
        "",
    ],
)
def test_an_address_that_is_not_https_is_refused(tmp_path, url):
    with pytest.raises(ConfigError, match="expected an address that begins with https://"):
        download(url, tmp_path / "w.bin", transfer=QUICK)


def test_a_server_that_hangs_is_left_in_time(server, tmp_path):
    def hang(handler):
        handler.server.content = CONTENT
        handler.serve(cut=1000)
        time.sleep(3)
        return True

    server.faults = [hang]
    begin = time.monotonic()
    path = download(server.url, tmp_path / "w.bin", transfer=Transfer(timeout=0.3, first_wait=0.01))
    assert path.read_bytes() == CONTENT
    assert server.asked[1]["range"] == "bytes=1000-"
    assert time.monotonic() - begin < 2.5


def test_a_server_that_never_answers_is_left_in_time(server, tmp_path):
    server.faults = [lambda handler: time.sleep(1) or True] * 3
    with pytest.raises(DownloadError, match="no byte in time"):
        download(server.url, tmp_path / "w.bin", transfer=Transfer(timeout=0.2, first_wait=0.01, attempts=2))


def test_a_server_that_drips_counts_as_hanging(server, tmp_path, caplog):
    """Every byte comes before the timeout, but the file would take hours."""

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for place in range(60):
                handler.wfile.write(CONTENT[place : place + 1])
                time.sleep(0.05)
        return True

    server.faults = [drip]
    patience = Transfer(timeout=0.5, first_wait=0.01, slowest=1000)
    assert download(server.url, tmp_path / "w.bin", transfer=patience).read_bytes() == CONTENT
    assert "hanging: " in caplog.text


def test_a_connection_kept_open_behind_the_end_does_not_hold_up(server, tmp_path):
    def keep(handler):
        handler.serve()
        handler.wfile.flush()
        time.sleep(1.5)
        return True

    server.faults = [keep]
    begin = time.monotonic()
    download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert time.monotonic() - begin < 1.2


def test_nobody_listening_is_told_after_the_attempts(tmp_path):
    there = Server()
    url = there.url
    there.server_close()
    with pytest.raises(DownloadError, match="no answer .*refused"):
        download(url, tmp_path / "w.bin", transfer=QUICK)


def test_a_host_without_an_address_is_told_at_once(tmp_path, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waited"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DownloadError, match=r"no address for weights\.example"):
        download("https://weights.example/w.bin", tmp_path / "w.bin")


def test_this_computer_is_asked_without_a_proxy(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).is_file()


def test_others_are_asked_through_the_proxy(server, tmp_path, monkeypatch):
    """An https proxy is asked to CONNECT; this one does not know how."""
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(DownloadError, match="501"):
        download("https://weights.example/w.bin", tmp_path / "w.bin", transfer=QUICK)


def test_a_disk_without_room_is_noticed_before_the_file_comes(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 500_000))
    with pytest.raises(DownloadError, match=r"1 MB are to come, 0 MB are free"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert left_in(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, a disk that is always full")
def test_a_disk_that_fills_on_the_way_is_told_and_not_retried(server, tmp_path, monkeypatch):
    path, real = tmp_path / "w.bin", module._Part.note

    def note_and_fill(self, url, body):
        real(self, url, body)
        self.file.symlink_to("/dev/full")

    monkeypatch.setattr(module._Part, "note", note_and_fill)
    with pytest.raises(DownloadError, match=r"cannot be written \(No space left on device\)"):
        download(server.url, path, transfer=QUICK)
    assert len(server.asked) == 1
    assert not path.exists()


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path):
    began, go_on = threading.Event(), threading.Event()

    def pause(handler):
        began.set()
        go_on.wait(10)

    server.faults = [pause]
    first = threading.Thread(target=download, args=(server.url, tmp_path / "w.bin"))
    first.start()
    assert began.wait(10)
    with pytest.raises(ConfigError, match=r"w\.bin: the download is in use by another process"):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    go_on.set()
    first.join(10)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_keeps_its_part_and_the_next_goes_on(server, tmp_path, project_root, number):
    came = threading.Event()

    def stall(handler):
        handler.serve(cut=400_000)
        handler.wfile.flush()
        came.wait(20)
        return True

    server.faults = [stall]
    code = (
        f"import sys; sys.path.insert(0, {str(project_root)!r})\n"
        "from common.download import download\n"
        f"download({server.url!r}, {str(tmp_path / 'w.bin')!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    part, deadline = part_of(tmp_path / "w.bin"), time.monotonic() + 20
    while not (part.exists() and part.stat().st_size >= 100_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    errors = process.communicate(timeout=20)[1]
    came.set()
    assert "KeyboardInterrupt" in errors or number == signal.SIGKILL
    there = part.stat().st_size
    assert 0 < there <= 400_000
    assert download(server.url, tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT
    assert server.asked[-1]["range"] == f"bytes={there}-"


def test_a_pipe_sees_no_progress_bar_and_a_terminal_does(server, tmp_path, capsys):
    download(server.url, tmp_path / "a.bin", transfer=QUICK)
    assert capsys.readouterr().err == ""
    download(server.url, tmp_path / "b.bin", transfer=Transfer(progress=True))
    assert "b.bin" in capsys.readouterr().err


def test_each_new_attempt_is_told(server, tmp_path, caplog):
    server.faults = [answer(500)]
    with caplog.at_level(logging.WARNING):
        download(server.url, tmp_path / "w.bin", transfer=QUICK)
    assert "answers 500" in caplog.text
    assert "attempt 2 of 3" in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody but itself has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    made = subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def secure(certificate):
    there = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    there.socket = context.wrap_socket(there.socket, server_side=True)
    with running(there):
        yield there


def secure_url(secure):
    return secure.url.replace("http:", "https:")


def test_a_certificate_that_nobody_signed_is_refused_at_once(secure, tmp_path):
    with pytest.raises(DownloadError, match=r"certificate of 127\.0\.0\.1 is not trusted .*SSL_CERT_FILE"):
        download(secure_url(secure), tmp_path / "w.bin", transfer=QUICK)
    assert secure.asked == []


def test_a_certificate_that_is_trusted_serves_over_https(secure, certificate, tmp_path):
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    secure.faults = [cut_after(300_000)]
    path = download(
        secure_url(secure), tmp_path / "w.bin", transfer=Transfer(context=trusting, first_wait=0.01)
    )
    assert path.read_bytes() == CONTENT
    assert [asked.get("range") for asked in secure.asked] == [None, "bytes=300000-"]


def test_the_environment_names_a_certificate_to_trust(secure, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    assert download(secure_url(secure), tmp_path / "w.bin", transfer=QUICK).read_bytes() == CONTENT


def test_a_redirect_from_https_to_http_is_refused_on_this_computer_too(secure, server, certificate, tmp_path):
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    secure.faults = [answer(302, Location=server.url)]
    with pytest.raises(DownloadError, match="which is not https: refused"):
        download(secure_url(secure), tmp_path / "w.bin", transfer=Transfer(context=trusting))
    assert server.asked == []
