"""Serve the page with waitress until Ctrl-C."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Sequence

import numpy as np

from common.errors import ConfigError
from common.libraries import require
from detect.detector import Detector
from detect.serve.app import MEGABYTE, NEEDING, WHEELS, make_app
from detect.serve.guard import own_names
from detect.serve.looker import Looker

_THREADS = 8  # that answer; pictures wait for one another in them, and the page's files must still come
_IN_MEMORY = 2**31 - 1  # bytes from which waitress would write a request or an answer to disk


def serve(
    detector: Detector,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threshold: float | Sequence[float] | np.ndarray = 0.5,
    max_upload_mb: float = 20,
) -> None:
    """Serve the page until Ctrl-C; print its address.

    Args:
        detector: used here alone from now on.
        host: name or address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 every address of it.
        port: to listen on; 0 takes a free one.
        threshold: the score above which the page shows detections at first, one number or (C,) one for each class.
        max_upload_mb: a picture's file at most, in millions of bytes.

    Raises:
        ConfigError: the address cannot be listened on, or a setting cannot be.
        DependencyError: Flask or waitress is not installed.
        CheckpointError: the network gives values that are not finite.
    """
    for library in WHEELS.split():
        require(library, NEEDING, WHEELS)
    looker = Looker(detector)
    app = make_app(looker, threshold=threshold, max_upload_mb=max_upload_mb, host=host)
    with listen(host, port) as listening:
        server = make_server(app, listening, max_upload_mb=max_upload_mb)
        looker.warm_up()
        print(f"serving {address(host, listening.getsockname()[1])} (Ctrl-C ends)", flush=True)
        if own_names(host) is None:
            print(
                "whoever reaches this machine can use it; --host 127.0.0.1 keeps it to yourself", flush=True
            )
        server.run()  # returns at Ctrl-C
        print("\nstopped")


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
    return waitress.create_server(
        app,
        sockets=[listening],
        threads=_THREADS,
        ident=None,
        # Twice: what is a little too large gets the application's own sentence.
        max_request_body_size=round(2 * max_upload_mb * MEGABYTE) + MEGABYTE,
        inbuf_overflow=_IN_MEMORY,
        outbuf_overflow=_IN_MEMORY,
        clear_untrusted_proxy_headers=True,
    )
