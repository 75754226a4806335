"""Serve the page with waitress until Ctrl-C.

Deviations from waitress: at Ctrl-C the requests that wait are answered, with 503, where it would drop them after 5 s;
and what it refuses by itself is told in JSON, as all errors here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence

import numpy as np

from common.errors import ConfigError
from common.libraries import require
from detect.detector import Detector
from detect.serve.app import MEGABYTE, NEEDING, WHEELS, make_app, too_large_sentence
from detect.serve.guard import HEADERS, own_names
from detect.serve.looker import Looker
from detect.serve.size import MAX_PIXELS

_THREADS = 8  # that answer; pictures wait for one another in them, and the page's files must still come
_IN_MEMORY = 2**31 - 1  # bytes from which waitress would write a request or an answer to disk
_CONNECTIONS = 200  # at once; below the 256 open files that some systems allow
_SILENCE = 20  # seconds without a byte after which a connection is closed that has nothing to wait for
_SWEEP = 5  # seconds from one look for such connections to the next
_WARNING = "whoever reaches this machine can use it; --host 127.0.0.1 keeps it to yourself"
_FAREWELL = 5  # seconds for the answers to those who wait at Ctrl-C


def serve(
    detector: Detector,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threshold: float | Sequence[float] | np.ndarray = 0.5,
    max_upload_mb: float = 20,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Serve the page until Ctrl-C; print its address.

    Args:
        detector: used here alone from now on.
        host: name or address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 every address of it.
        port: to listen on; 0 takes a free one.
        threshold: the score above which the page shows detections at first, one number or (C,) one for each class.
        max_upload_mb: a picture's file at most, in millions of bytes.
        max_pixels: a picture's pixels at most, 3/8 of that for grey of over 8 bits.

    Raises:
        ConfigError: the address cannot be listened on, or a setting cannot be.
        DependencyError: Flask or waitress is not installed.
        CheckpointError: the network gives values that are not finite.
    """
    for library in WHEELS.split():
        require(library, NEEDING, WHEELS)
    with listen(host, port) as listening:
        bound, number = listening.getsockname()[:2]
        looker = Looker(detector, max_pixels)
        try:
            app = make_app(
                looker,
                threshold=threshold,
                max_upload_mb=max_upload_mb,
                max_pixels=max_pixels,
                host=(host, bound),
            )
            server = make_server(app, listening, max_upload_mb=max_upload_mb)
            looker.warm_up()
            everywhere = own_names(host, bound) is None
            print(f"serving {address(bound if everywhere else host, number)} (Ctrl-C ends)", flush=True)
            if everywhere:
                print(_WARNING, flush=True)
            run(server, looker)
        finally:
            looker.close()
    print("\nstopped")


def run(server, looker: Looker) -> None:
    """Answer requests until Ctrl-C; then answer those who wait that it is over, and close all connections.

    Args:
        server: from `make_server`.
        looker: that the server's application has; closed at the end.
    """
    from waitress import wasyncore

    connections = server._map  # the argument of waitress's loop, for which it has no public name
    try:
        with _interruption(server) as interrupted:
            while not interrupted.is_set():
                wasyncore.loop(map=connections, timeout=1, count=1)
        looker.close()  # from here on a picture gets 503, also one whose connection is only accepted now
        end = time.monotonic() + _FAREWELL
        while any(map(_is_owed, server.active_channels.copy().values())) and time.monotonic() < end:
            wasyncore.loop(map=connections, timeout=0.1, count=1)
    finally:
        looker.close()
        logging.getLogger("waitress").setLevel(logging.ERROR)  # it would warn of a thread that is busy still
        server.task_dispatcher.shutdown(timeout=0.5)
        wasyncore.close_all(connections, ignore_all=True)


@contextlib.contextmanager
def _interruption(server):
    """Yield an event that Ctrl-C sets: an exception in the midst of waitress's work would lose a connection."""
    event = threading.Event()

    def interrupt(*_):
        event.set()
        server.pull_trigger()  # ends the wait for connections

    ours = (
        threading.current_thread() is threading.main_thread()  # no other may set it
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    except KeyboardInterrupt:
        event.set()
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_owed(connection) -> bool:
    """Tell whether somebody waits for an answer, or for the rest of it."""
    return bool(connection.requests or connection.total_outbufs_len)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        ConfigError: the name is unknown, or the port is taken, forbidden or out of range.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: expected a number from 0 to 65535; 0 takes a free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host}: no such name or address ({error}): give 127.0.0.1, or 0.0.0.0"
        ) from error
    if not found:
        raise ConfigError("--host is empty: give a name or an address, as 127.0.0.1")
    # IPv4 first: "localhost" may name both, and browsers try both.
    family, kind, protocol, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        if (
            os.name == "posix"
        ):  # a port that was just given up can be taken; elsewhere the option would share it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen()
    except OSError as error:
        listening.close()
        raise _explain(host, port, error) from error
    return listening


def _explain(host: str, port: int, error: OSError) -> ConfigError:
    """Return the error for an address that cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"--port {port}: is taken on {host}, maybe by an earlier demo.py --serve: end that, or give another"
            " --port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"--port {port}: is not for ordinary users: give a --port from 1024 on")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"--host {host}: is not an address of this machine: give 127.0.0.1, or 0.0.0.0 for all of them"
        )
    return ConfigError(f"--host {host} --port {port}: cannot be listened on ({error.strerror or error})")


def address(host: str, port: int) -> str:
    """Return what to type into a browser on this machine."""
    shown = "localhost" if own_names(host) is None else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def make_server(app, listening: socket.socket, *, max_upload_mb: float = 20):
    """Make waitress's server for an application.

    Args:
        app: from `make_app`.
        listening: from `listen`.
        max_upload_mb: as the application's; a request over twice that is cut off unread.

    Returns:
        A server with `run()`, which blocks, and `close()`.
    """
    waitress = require("waitress", NEEDING, WHEELS)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits
    server = waitress.create_server(
        app,
        sockets=[listening],
        threads=_THREADS,
        ident=None,
        connection_limit=_CONNECTIONS,
        channel_timeout=_SILENCE,
        cleanup_interval=_SWEEP,
        # Twice: what is a little too large gets the application's own answer, which it can read.
        max_request_body_size=round(2 * max_upload_mb * MEGABYTE) + MEGABYTE,
        inbuf_overflow=_IN_MEMORY,
        outbuf_overflow=_IN_MEMORY,
        clear_untrusted_proxy_headers=True,
    )
    server.channel_class = _connection_class(round(max_upload_mb * MEGABYTE))
    return server


def _connection_class(limit: int):
    """Return waitress's class of connections, but what it refuses before the application sees it is told in JSON."""
    from waitress.channel import HTTPChannel
    from waitress.task import ErrorTask

    class InJSON(ErrorTask):
        def execute(self):
            self.request.error = _Refusal(self.request, limit)
            super().execute()

    class Connection(HTTPChannel):
        error_task_class = InJSON

    return Connection


class _Refusal:
    """An error of waitress's parser, as {"error": sentence}.

    Args:
        request: that has the error.
        limit: of an upload, in bytes.
    """

    def __init__(self, request, limit: int):
        self._error = request.error
        self._size, self._limit = max(request.content_length, request.body_bytes_received), limit

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body, as waitress asks for them."""
        error = self._error
        sentence = f"{error.reason}: {error.body}"
        if error.code == 413:
            sentence = too_large_sentence(self._size, self._limit)
        headers = [("Content-Type", "application/json"), *HEADERS.items()]
        return f"{error.code} {error.reason}", headers, json.dumps({"error": sentence}).encode()
