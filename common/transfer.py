"""One request for a file, or for the rest of one: what is asked, what is believed, and which errors may pass.

Used by `common.download`. Python's own urllib does the talking; on top of it stand the rules that it does not have:
https alone (also behind redirects), a rest that is a rest of the same file, an end that was told, servers that hang.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import ConfigError, SSDError

_LOCAL = {"localhost", "127.0.0.1", "::1"}
_MAY_PASS = {408, 425, 429, 500, 502, 503, 504}  # HTTP's numbers for "not now"
_BLOCK = 1 << 16  # bytes
_AGENT = "mxnet-ssd-weights/1"


class DownloadError(SSDError):
    """A file that cannot be had from the web, or is not the one expected."""


class Passing(Exception):
    """A failure that another attempt may not meet.

    Attributes:
        wait: seconds that the server asks for, or None.
        anew: what came before is of no use.
    """

    def __init__(self, reason: str, *, wait: float | None = None, anew: bool = False):
        super().__init__(reason)
        self.wait = wait
        self.anew = anew


@dataclass(frozen=True)
class Transfer:
    """Patience and bounds of a download.

    Attributes:
        timeout: seconds without a byte, or to a connection, after which an attempt has failed.
        slowest: bytes per second; less, over `timeout` seconds, counts as hanging too.
        attempts: in a row that bring next to nothing, before the download is given up.
        first_wait: seconds before the second attempt; each wait is twice the one before.
        longest_wait: seconds; also the longest that a server may ask for.
        limit: bytes; a longer file is refused.
        context: of TLS; None trusts what the system trusts.
        progress: show a bar; None shows it on terminals.
    """

    timeout: float = 30.0
    slowest: float = 512.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0
    limit: int = 8 << 30
    context: ssl.SSLContext | None = None
    progress: bool | None = None

    def wait(self, failures: int, asked: float | None) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return min(max(self.first_wait * 2 ** (failures - 1), asked or 0), self.longest_wait)


@dataclass
class Body:
    """What a server sends.

    Attributes:
        begin: place of its first byte in the file.
        total: bytes of the whole file; None where the server does not say.
        mark: what tells this file from a later one of the same name; "" where there is nothing.
        tells_its_end: a cut is noticed although `total` is None.
    """

    begin: int
    total: int | None
    mark: str
    tells_its_end: bool
    response: http.client.HTTPResponse
    transfer: Transfer

    def blocks(self) -> Iterator[bytes]:
        """Yield what comes.

        Raises:
            Passing: the connection is cut, or the server hangs.
        """
        place, since, gained = self.begin, time.monotonic(), 0
        while True:
            try:
                # some Pythons do not count what read1 took, and would wait for more behind the end
                most = _BLOCK if self.total is None else min(_BLOCK, self.total - place)
                block = self.response.read1(most) if most else b""
            except (OSError, http.client.HTTPException) as error:
                raise Passing(f"cut after {place} bytes ({_reason(error)})") from error
            if not block:
                break
            place, gained = place + len(block), gained + len(block)
            yield block
            waited = time.monotonic() - since
            if waited > self.transfer.timeout:
                if gained < self.transfer.slowest * waited:
                    raise Passing(f"hanging: {gained} bytes in {waited:.0f} s")
                since, gained = time.monotonic(), 0
        if self.total is not None and place < self.total:
            raise Passing(f"cut after {place} of {self.total} bytes")


def check_url(url: str, *, behind: str = "") -> None:
    """Refuse an address that is not https, or http on this computer.

    Args:
        url: the address.
        behind: the address that sent us there, for the message and because https must not lead to http.

    Raises:
        ConfigError: an address that a caller gave.
        DownloadError: an address that a server gave.
    """
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOCAL and not behind.startswith("https:")
    if parts.hostname and (parts.scheme == "https" or local):
        return
    if behind:
        raise DownloadError(
            f"{behind}: the server sends us on to {_shown(url)}, which is not https: refused, for on the way anyone"
            " could put another file in place"
        )
    raise ConfigError(
        f"{_shown(url)}: expected an address that begins with https:// (http:// on this computer alone): over http"
        " anyone on the way could put another file in place"
    )


@contextlib.contextmanager
def opened(url: str, transfer: Transfer, *, begin: int = 0, mark: str = "") -> Iterator[Body]:
    """Ask a server for a file, or for what follows its first bytes.

    Args:
        url: see `check_url`.
        transfer: patience and bounds.
        begin: bytes that are here already.
        mark: of the file that they are of.

    Yields:
        The body. Its `begin` is 0 where the server has another file by now, or cannot send a rest.

    Raises:
        Passing: another attempt may do better.
        DownloadError: none will.
    """
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
        request.add_header("If-Range", mark)
    try:
        response = _opener(url, transfer).open(request, timeout=transfer.timeout)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _sorted_error(error, url, begin) from error
    with response:
        yield _believed(response, url, transfer, begin, mark)


def _opener(url: str, transfer: Transfer) -> urllib.request.OpenerDirector:
    """Return what opens addresses; this computer is asked without a proxy."""
    local = urllib.parse.urlsplit(url).hostname in _LOCAL
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({} if local else None),
        urllib.request.HTTPSHandler(context=transfer.context or ssl.create_default_context()),
        _Redirects,
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        check_url(newurl, behind=req.full_url)
        # 308 is 307 for a request without a body; Python knows it from 3.11 on.
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _believed(
    response: http.client.HTTPResponse, url: str, transfer: Transfer, begin: int, mark: str
) -> Body:
    """Read from the head of an answer what it is.

    Raises:
        Passing: it is the rest of another file, or another rest.
        DownloadError: it is no answer to what was asked.
    """
    head = response.headers
    encoding = head.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise DownloadError(
            f"{url}: the server sends the file as {encoding}, which was not asked for: take another"
        )
    total, tells = response.length, bool(response.chunked)
    found = _mark(head)
    if response.status == 206:
        placed = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", head.get("Content-Range", "").strip())
        if not begin or not placed or int(placed.group(1)) != begin or (found and found != mark):
            raise Passing(
                "the server sent another part than was asked for: fetching the file anew", anew=True
            )
        total = int(placed.group(2)) + 1 if placed.group(3) == "*" else int(placed.group(3))
        return Body(begin, total, mark, tells, response, transfer)
    if response.status != 200:
        raise DownloadError(f"{url}: the server answers {response.status}, expected 200: take another source")
    return Body(0, total, found, tells, response, transfer)


def _mark(head) -> str:
    """Return what If-Range takes: a strong ETag, else the time of the last change; "" where there is neither."""
    tag = head.get("ETag", "").strip()
    return tag if tag.startswith('"') else head.get("Last-Modified", "").strip()


def _sorted_error(error: Exception, url: str, begin: int) -> Exception:
    """Return what an error means: `Passing`, or a DownloadError that says what to do."""
    if isinstance(error, urllib.error.HTTPError):
        return _http_error(error, url, begin)
    cause = getattr(error, "reason", error)
    host = urllib.parse.urlsplit(url).hostname
    if isinstance(cause, ssl.SSLCertVerificationError):
        return DownloadError(
            f"{url}: the certificate of {host} is not trusted ({cause.verify_message}): check the computer's date;"
            " where a company's proxy signs for others, let SSL_CERT_FILE name its certificate"
        )
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return DownloadError(
            f"{url}: there is no address for {host} ({cause.strerror}): check the connection, or the proxy"
            " (https_proxy)"
        )
    if isinstance(error, (OSError, http.client.HTTPException)) and not isinstance(
        error, http.client.InvalidURL
    ):
        return Passing(f"no answer ({_reason(cause)})")
    return DownloadError(f"{_shown(url)}: not an address ({error})")


def _http_error(error: urllib.error.HTTPError, url: str, begin: int) -> Exception:
    """Return what an answer of the server means that is not the file."""
    said = f"the server answers {error.code} {error.reason}"
    error.close()
    if error.code in _MAY_PASS:
        asked = error.headers.get("Retry-After", "")
        return Passing(said, wait=float(asked) if re.fullmatch(r"\d{1,9}", asked) else None)
    if error.code == 416 and begin:
        return Passing(f"{said}: fetching the file anew", anew=True)
    if error.code in (404, 410):
        return DownloadError(f"{url}: {said}: the file is gone, or the address is wrong: take another source")
    if error.code in (401, 403, 407):
        return DownloadError(
            f"{url}: {said}: it does not give the file to everyone: check the proxy (https_proxy), or take another"
            " source"
        )
    return DownloadError(f"{url}: {said}: take another source")


def _reason(error) -> str:
    """Return an error's words, or its kind where it has none."""
    if isinstance(error, socket.timeout):
        return "no byte in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shown(url: str) -> str:
    """Return an address for a message, without its end where it is long."""
    return url if len(url) <= 200 else f"{url[:200]}..."
