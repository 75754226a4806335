"""Who may ask the local server: requests to its own name, from its own pages or from no page at all.

A page of another site that is open in the same browser can send requests to 127.0.0.1. It must not get answers (no
CORS header is sent), must not come in under a name of its own that it has pointed here (DNS rebinding: the Host header
tells), and must not set the detector to work (a browser's Sec-Fetch-Site or Origin header tells).

Source: https://fetch.spec.whatwg.org and https://www.w3.org/TR/fetch-metadata for the headers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCAL = ("localhost", "127.0.0.1", "::1")
_READING = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    # Everything comes from this server, but for pictures that the page holds itself (blob:).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def own_names(*hosts: str) -> frozenset[str] | None:
    """Return the names under which a server answers; None for any, where it listens everywhere.

    Args:
        hosts: what it was told to listen on, and the address that its socket has: "0" and others become 0.0.0.0.
    """
    if any(map(_is_every_address, hosts)):
        return None
    return frozenset({*map(str.lower, hosts), *_LOCAL})


def _is_every_address(host: str) -> bool:
    """Tell whether a host is the address that stands for all of the machine's."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_unspecified


def refusal(method: str, headers: Mapping[str, str], names: frozenset[str] | None) -> str:
    """Say why a request is refused; "" where it is not.

    Args:
        method: of the request.
        headers: of the request, names in any case.
        names: from `own_names`.
    """
    host = headers.get("Host", "")
    if names is not None and _hostname(f"//{host}") not in names:
        return (
            f"this server does not answer to the name {host!r}: open it by the address that it printed; to have it"
            " answer to every name, start it with --host 0.0.0.0"
        )
    if method in _READING:
        return ""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site not in (None, "same-origin", "none"):
        return f"a page of another site may not send pictures here (Sec-Fetch-Site: {site})"
    if origin is not None and _host_and_port(origin) != host.lower():
        return f"a page of another site may not send pictures here (Origin: {origin})"
    return ""


def _hostname(url: str) -> str | None:
    """Return the host name of an address, in small letters, without port and brackets; None where there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _host_and_port(origin: str) -> str | None:
    """Return host and port of an origin, in small letters; None where it has none ("null")."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
