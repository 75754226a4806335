"""Commands: flags that read old scripts, errors of one line, exit codes."""

import argparse
import subprocess
import sys

import pytest

from common import command as commands
from common.command import CommandParser, add_switch, command
from common.errors import ConfigError


def switch_parser(default=True):
    parser = CommandParser(prog="thing.py")
    add_switch(parser, "--shuffle", default=default, help="mix the images")
    add_switch(parser.add_argument_group("more"), "--use-difficult", default=False, help="count them")
    parser.add_argument("--network", default="vgg16_reduced", help="which")
    parser.add_argument("images", nargs="*", help="files")
    return parser


# ---- booleans


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--shuffle"], True),
        (["--no-shuffle"], False),
        (["--shuffle", "True"], True),
        (["--shuffle", "False"], False),
        (["--shuffle=false"], False),
        (["--shuffle", "0"], False),
        (["--shuffle", "YES"], True),
        (["--no-shuffle", "True"], False),
        (["--no-shuffle", "False"], True),
        (["--shuffle", "--no-shuffle"], False),  # the last one counts
        (["--shuffle", "--network", "x"], True),
    ],
)
def test_switch_reads_all_spellings(default, argv, value):
    assert switch_parser(default).parse_args(argv).shuffle is value


@pytest.mark.parametrize("default", [True, False])
def test_switch_keeps_its_default(default):
    assert switch_parser(default).parse_args([]).shuffle is default


def test_switch_with_a_dash_inside():
    assert switch_parser().parse_args(["--use-difficult"]).use_difficult is True
    assert switch_parser().parse_args(["--no-use-difficult"]).use_difficult is False


def test_switch_with_another_word_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        switch_parser().parse_args(["--shuffle", "maybe"])
    assert stop.value.code == 2
    assert "expected True or False, found 'maybe'" in capsys.readouterr().err


# ---- one-line errors


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--netwrok", "x"], "unknown argument --netwrok; did you mean --network?"),
        (["--netwrok=x"], "unknown argument --netwrok=x; did you mean --network?"),
        (["--netw", "x"], "unknown argument --netw"),  # no silent abbreviations
        (["--qqqqqq"], "unknown argument --qqqqqq (--help"),
        (["--network"], "expected one argument"),
    ],
)
def test_wrong_flag_is_one_line_and_code_2(capsys, argv, words):
    with pytest.raises(SystemExit) as stop:
        switch_parser().parse_args(argv)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.err.startswith("thing.py: error: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_help_shows_every_flag_and_default_at_any_width(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as stop:
        switch_parser().parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for words in ("--no-shuffle", "--no-use-difficult", "(default: True)", "vgg16_reduced", "--debug"):
        assert words in text


def make_command(error=None, value=0):
    @command
    def main(argv):
        """Do it."""
        if error:
            raise error
        return value

    return main


def test_ssd_error_is_one_line_and_code_2(capsys):
    assert make_command(ConfigError("bad\n  thing: try\tthis"))([]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: bad thing: try this\n"
    assert captured.out == ""


def test_debug_shows_where_it_arose(capsys):
    assert make_command(ConfigError("bad thing"))(["--debug"]) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "test_command.py" in text
    assert text.endswith("error: bad thing\n")


@pytest.mark.parametrize(("value", "code"), [(0, 0), (None, 0), (1, 1)])
def test_exit_code_is_the_functions(value, code):
    assert make_command(value=value)([]) == code


def test_stopped_by_the_user_is_130(capsys):
    assert make_command(KeyboardInterrupt())([]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_error_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        make_command(ZeroDivisionError())([])


def test_argv_defaults_to_the_command_line(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "argv", ["prog", "--a", "b"])
    command(lambda argv: seen.append(argv) or 0)()
    assert seen == [["--a", "b"]]


def run_module(tmp_path, project_root, text):
    (tmp_path / "fake_room_command.py").write_text(text)
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from common.command import run; run('fake_room_command')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(project_root), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("main = lambda: 0", 0, ""),
        ("main = lambda: 1", 1, ""),
        ("import no_such_package_xyz", 2, "no_such_package_xyz is not installed: run `make setup`"),
        (
            "from common.errors import DependencyError as E\nraise E('libX is missing')",
            2,
            "error: libX is missing",
        ),
    ],
)
def test_run_leaves_with_the_code_and_one_line(tmp_path, project_root, text, code, words):
    done = run_module(tmp_path, project_root, text)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == (1 if words else 0)


# ---- values of flags


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("300", (300, 300)),
        ("300,400", (300, 400)),
        ("300x400", (300, 400)),
        ("(300, 400)", (300, 400)),
        (" 512 ", (512, 512)),
        ("32", (32, 32)),
    ],
)
def test_shape_is_height_and_width(text, shape):
    assert commands.parse_shape(text) == shape


@pytest.mark.parametrize(
    "text", ["", "31", "300,", "300,400,3", "-300", "3e2", "300.5", "big", "300,0", "²²²"]
)
def test_wrong_shape_is_refused(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        commands.parse_shape(text)


@pytest.mark.parametrize(
    ("text", "numbers"), [("", ()), ("1", (1.0,)), ("0.1, .2", (0.1, 0.2)), ("-1,1e-3", (-1.0, 0.001))]
)
def test_numbers(text, numbers):
    assert commands.parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["a", "1;2", "1 2x", "nan", "inf,1"])
def test_wrong_numbers_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected numbers"):
        commands.parse_numbers(text)


def test_number_lists():
    assert commands.parse_number_lists("0.1,0.14;0.2") == ((0.1, 0.14), (0.2,))
    assert commands.parse_number_lists("1;2;") == ((1.0,), (2.0,))
    with pytest.raises(argparse.ArgumentTypeError):
        commands.parse_number_lists("1;b")


# ---- class names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\n\r\n  dog  \r\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\ndog", ("cat", "dog")),  # Windows' mark
        ("Grüße\n猫".encode(), ("Grüße", "猫")),
        (b"dining table\ntv,monitor", ("dining table", "tv,monitor")),
    ],
)
def test_class_names_from_a_file(tmp_path, content, names):
    path = tmp_path / "classes"
    path.write_bytes(content)
    assert commands.read_class_names(str(path)) == names


def test_class_names_from_a_list():
    assert commands.read_class_names("cat, dog ,bird") == ("cat", "dog", "bird")
    assert commands.read_class_names("person") == ("person",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat,,dog", "empty name"),
        ("", "empty name"),
        ("cat,dog,cat", "'cat' twice"),
        ("names.txt", "no such file"),
    ],
)
def test_wrong_class_names_are_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        commands.read_class_names(text)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty name"), (b"a\nb\na", "'a' twice"), (b"caf\xe9\n", "UTF-8")]
)
def test_wrong_file_of_class_names_is_refused(tmp_path, content, words):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        commands.read_class_names(str(path))


def test_missing_file_of_class_names_is_not_a_class(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        commands.read_class_names(str(tmp_path / "names"))


class MXNetError(RuntimeError):
    """Named like MXNet's, which is not imported for this."""


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (
            MXNetError("Traceback\n  File x.cc\nMXNetError: Check failed: too large\n"),
            "Check failed: too large",
        ),
        (MemoryError("12 GB"), "12 GB"),
        (MemoryError(), "out of memory"),
    ],
)
def test_library_that_cannot_compute_is_one_line(error, found, capsys):
    @command
    def main(argv):
        raise error

    assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert found in lines[0]
    assert "--batch-size" in lines[0]


def test_other_runtime_errors_keep_their_traceback():
    @command
    def main(argv):
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        main([])


def test_reader_that_has_seen_enough_ends_a_command_quietly(tmp_path, project_root):
    script = tmp_path / "talk.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(project_root)!r})\n"
        "from common.command import command\n"
        "@command\n"
        "def main(argv):\n"
        "    for number in range(100000):\n"
        "        print(number)\n"
        "    return 0\n"
        "sys.exit(main([]))\n"
    )
    done = subprocess.run(
        f"{sys.executable} {script} | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
