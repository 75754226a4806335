"""model/download.py as it is typed: the table, a download, what comes next, and errors of one line."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

import pytest

from model.download_command import main, report, table
from model.zoo import Fetched, entries, find


def typed(project_root, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, str(project_root / "model" / "download.py"), *arguments],
        cwd=cwd or project_root,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_name_the_table_is_printed_from_any_folder(project_root, tmp_path):
    done = typed(project_root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["name", "kind", "input", "classes"]
    assert sum(line.split()[:2] == ["ssd_resnet50_512", "detector"] for line in lines) == 1
    assert "python model/download.py NAME" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_line_for_each_entry_with_what_is_known(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(entries()) + 1
    line = next(line for line in lines if line.startswith("ssd_512_resnet50_v1_voc "))
    for known in (
        "detector",
        "512x512",
        "20",
        "80.1 mAP",
        "123.675,116.28,103.53",
        "sha1 9c8b225a",
        "gluoncv",
    ):
        assert known in line
    assert "none published" in next(line for line in lines if line.startswith("ssd_resnet50_512 "))


def test_columns_stand_below_each_other():
    lines = table(entries()).splitlines()
    place = lines[0].index("kind")
    assert {line[place : place + 8] for line in lines[1:]} == {"detector", "backbone"}


def test_an_unknown_name_is_one_line_with_the_closest(project_root):
    done = typed(project_root, "ssd_resnet_512")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "did you mean ssd_resnet50_512" in done.stderr


def test_no_network_is_one_line(project_root, tmp_path):
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        port = there.getsockname()[1]
    done = typed(
        project_root, "ssd_resnet50_512", "--out", str(tmp_path), "--url-base", f"http://127.0.0.1:{port}/x y"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_an_empty_folder_name_is_refused(capsys):
    assert main(["ssd_resnet50_512", "--out", ""]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "files", "following"),
    [
        (
            "ssd_resnet50_512",
            ("ssd_resnet50_512-symbol.json", "ssd_resnet50_512-0000.params"),
            (
                "python demo.py --prefix w/ssd_resnet50_512 --network resnet50 --data-shape 512"
                " --class-names w/ssd_resnet50_512.names --images PICTURE"
            ),
        ),
        (
            "ssd_512_resnet50_v1_voc",
            ("ssd_512_resnet50_v1_voc.params",),
            "python tools/import_gluoncv.py ssd_512_resnet50_v1_voc --params w/ssd_512_resnet50_v1_voc.params",
        ),
        (
            "resnet50_v1b",
            ("resnet50_v1b.params",),
            "python train.py --network gluon:resnet50_v1b --pretrained imagenet --train-path data/train.rec",
        ),
        (
            "vgg16_reduced",
            ("vgg16_reduced-symbol.json", "vgg16_reduced-0001.params"),
            (
                "python train.py --network vgg16_reduced --data-shape 300 --pretrained w/vgg16_reduced --epoch 1"
                " --train-path data/train.rec"
            ),
        ),
    ],
)
def test_the_next_command_fits_what_was_fetched(tmp_path, monkeypatch, name, files, following):
    monkeypatch.chdir(tmp_path)
    paths = tuple(tmp_path / "w" / file for file in files)
    lines = report(find(name), Fetched(paths, "ab" * 32, "https://mirror.example/x.zip")).splitlines()
    assert "https://mirror.example/x.zip" in lines[0]
    assert lines[-1] == f"next: {following}"
    assert ("ab" * 32 in "\n".join(lines)) == (find(name).checksum is None)


def test_every_next_command_has_flags_that_its_program_knows():
    from detect.command import build_parser as demo
    from tools.gluoncv_importer.command import build_parser as importer
    from train.command import build_parser as train

    parsers = {"demo.py": demo(), "tools/import_gluoncv.py": importer(), "train.py": train()}
    for entry in entries():
        _, program, *words = entry.usage.format(prefix="p", params="f").split()
        parsers[program].parse_args(words)


def test_ctrl_c_says_that_what_came_is_kept(project_root, tmp_path):
    """A server that sends a beginning and then nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        command = [
            *(sys.executable, str(project_root / "model" / "download.py"), "vgg16_reduced"),
            *("--out", str(tmp_path), "--url-base", f"http://127.0.0.1:{listening.getsockname()[1]}"),
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        listening.settimeout(60)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 1000\r\n\r\n' + b"PK" * 50)
            part = tmp_path / ".downloads" / "vgg16_reduced" / "vgg16_reduced.zip.part"
            waiting = threading.Event()
            for _ in range(500):
                if part.exists():
                    break
                waiting.wait(0.02)
            waiting.wait(0.3)
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert part.read_bytes() == b"PK" * 50
