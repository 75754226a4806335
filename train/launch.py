"""tools/launch.py: one scheduler, servers and workers of a run that trains over MXNet's parameter server.

Every process runs the same command; MXNet's own variables tell it what it is. On this machine they are children of the
launcher, on others they are started by ssh. DMLC_TASK_ID numbers the workers: MXNet's ranks come by chance.

Source: the variables of ps-lite and of MXNet's launcher (dmlc tracker). Deliberate deviation from that: when one
process ends badly all are ended, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from common.command import CommandParser, command, parse_whole
from common.errors import ConfigError
from common.threads import usable_cores
from train.launched import supervise

_HOME = "127.0.0.1"
_PORT = 9091  # of the scheduler on another machine, as in MXNet's launcher
_SSH = ("ssh", "-tt", "-o", "BatchMode=yes")  # asks nothing: nobody would see the question


@dataclass(frozen=True)
class Process:
    """A process to start.

    Attributes:
        name: before each line of its output.
        argv: the command.
        environment: what it gets beside the launcher's own; a remote one has it in its command.
        is_worker: else it ends by itself once the workers have ended.
        is_remote: over ssh.
    """

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    is_worker: bool = False
    is_remote: bool = False


def build_parser() -> CommandParser:
    """Return the parser of tools/launch.py, without the command after `--`."""
    parser = CommandParser(
        prog="launch.py",
        usage="launch.py --workers N [flags] -- python train.py --kv-store dist_sync ...",
        description="Start the scheduler, servers and workers of a run that trains over several processes or machines.",
    )
    parser.add_argument(
        "--workers", type=parse_whole, required=True, metavar="N", help="processes that train"
    )
    parser.add_argument(
        "--servers", type=parse_whole, default=1, metavar="N", help="processes that sum gradients"
    )
    hosts = parser.add_mutually_exclusive_group()
    hosts.add_argument(
        "--hosts", metavar="A,B", help="machines to start on by ssh, in turn; the scheduler is on the first"
    )
    hosts.add_argument(
        "--host-file", metavar="FILE", help="the same, one on a line; # begins a comment (default: this one)"
    )
    parser.add_argument(
        "--address", metavar="IP", help="of the first machine, as the others reach it (default: by its name)"
    )
    parser.add_argument(
        "--port",
        type=parse_whole,
        metavar="N",
        help=f"of the scheduler (default: a free one here, {_PORT} elsewhere)",
    )
    parser.add_argument(
        "--dir", metavar="PATH", help="of the project on the other machines (default: this folder's path)"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for every process, for example DMLC_INTERFACE=eth0; may be given several times",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be run, one command on a line, and end"
    )
    return parser


@command
def main(argv: list[str] | None = None) -> int:
    """Run tools/launch.py.

    Args:
        argv: flags, `--`, the command; those of the process where None.

    Returns:
        0, 130 where the user stopped the run, else the exit code of what ended badly.
    """
    own, typed = split_command(argv)
    if not typed and any(Path(part).name in ("train.py", "python") for part in own):
        raise ConfigError("put -- before the command: launch.py --workers 2 -- python train.py ...")
    args = build_parser().parse_args(own)
    if not typed:
        raise ConfigError(
            "after the flags, -- and the command are missing: -- python train.py --kv-store dist_sync"
        )
    processes = plan(args, typed)
    if args.dry_run:
        for process in processes:
            print(described(process))
        return 0
    return supervise(processes)


def split_command(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the launcher's own flags and the command after `--`."""
    if "--" not in argv:
        return argv, []
    where = argv.index("--")
    return argv[:where], argv[where + 1 :]


def plan(args: argparse.Namespace, typed: list[str]) -> list[Process]:
    """Return the processes to start: scheduler, servers, workers.

    Raises:
        ConfigError: a host, address or variable cannot be.
    """
    hosts, extra = _hosts(args), _extra(args.env)
    common = {
        "DMLC_PS_ROOT_URI": _address(args, hosts),
        "DMLC_PS_ROOT_PORT": str(_port(args, hosts)),
        "DMLC_NUM_SERVER": str(args.servers),
        "DMLC_NUM_WORKER": str(args.workers),
        **({} if hosts else _here(args.workers)),
        **extra,
    }
    places = [(hosts[i % len(hosts)] if hosts else "") for i in range(max(args.workers, args.servers))]
    roles = [("scheduler", "scheduler", places[0], {})]
    roles += [(f"server {i}", "server", places[i], {}) for i in range(args.servers)]
    roles += [(f"worker {i}", "worker", places[i], {"DMLC_TASK_ID": str(i)}) for i in range(args.workers)]
    return [
        _process(name, host, {"DMLC_ROLE": role, **common, **own}, typed, args.dir)
        for name, role, host, own in roles
    ]


def _process(name: str, host: str, environment: dict, typed: list[str], folder: str | None) -> Process:
    is_worker = environment["DMLC_ROLE"] == "worker"
    if not host:
        # The launcher's own Python is the one that has the project's libraries.
        first = sys.executable if typed[0] in ("python", "python3") else typed[0]
        return Process(name, (first, *typed[1:]), environment, is_worker)
    variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
    line = f"cd {shlex.quote(folder or os.getcwd())} && exec env {variables} {shlex.join(typed)}"
    return Process(name, (*_SSH, host, line), {}, is_worker, is_remote=True)


def described(process: Process) -> str:
    """Return a process's command as one would type it."""
    variables = [f"{key}={shlex.quote(value)}" for key, value in process.environment.items()]
    return " ".join([*(["env", *variables] if variables else []), shlex.join(process.argv)])


def _here(workers: int) -> dict[str, str]:
    """Return what processes on this machine alone get: the loopback's address, and their share of the cores."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, usable_cores() // workers))
    return {"DMLC_NODE_HOST": _HOME, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}


def _hosts(args: argparse.Namespace) -> list[str]:
    """Return the machines; none for this one.

    Raises:
        ConfigError: the file cannot be read, or a name is none.
    """
    if args.host_file:
        try:
            lines = Path(args.host_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--host-file {args.host_file}: cannot be read ({error})") from error
        hosts, flag = [line.split("#")[0].strip() for line in lines], f"--host-file {args.host_file}"
        hosts = [host for host in hosts if host]
    elif args.hosts is not None:
        hosts, flag = [host.strip() for host in args.hosts.split(",")], f"--hosts {args.hosts}"
    else:
        return []
    # A name that begins with a dash would be an option of ssh.
    wrong = [host for host in hosts if not host or host.startswith("-") or len(host.split()) > 1]
    if wrong or not hosts:
        found = repr(wrong[0]) if wrong else "no machine"
        raise ConfigError(f"{flag}: found {found}, expected names or addresses of machines, user@name too")
    return hosts


def _address(args: argparse.Namespace, hosts: list[str]) -> str:
    """Return the scheduler's numeric address: it listens at that, and a name would not do.

    Raises:
        ConfigError: it is not known, or only this machine would reach it.
    """
    name = args.address or (hosts[0].split("@")[-1] if hosts else _HOME)
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        raise ConfigError(
            f"--address: {name} has no address here ({error}): give the first machine's IP"
        ) from error
    if address.startswith("127.") and len(set(hosts)) > 1:
        raise ConfigError(
            f"--address: {name} is {address} here, which the other machines do not reach: give the first machine's IP"
        )
    return address


def _port(args: argparse.Namespace, hosts: list[str]) -> int:
    if args.port:
        if args.port > 65535:
            raise ConfigError(f"--port {args.port}: expected at most 65535")
        return args.port
    if hosts:
        return _PORT
    with socket.socket() as probe:
        probe.bind((_HOME, 0))
        return probe.getsockname()[1]


def _extra(given: list[str]) -> dict[str, str]:
    """Return the variables of --env.

    Raises:
        ConfigError: one is not NAME=VALUE.
    """
    pairs = [text.partition("=") for text in given]
    for (name, equals, _), text in zip(pairs, given):
        if not equals or not name.isidentifier():
            raise ConfigError(f"--env {text}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}
