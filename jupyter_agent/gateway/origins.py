"""Where a handshake comes from, and whether the credential it carries counts there.

A WebSocket handshake is a GET without XSRF protection: its origin is the only guard of a cookie. A cookie counts for
the server's own origin or one that the operator listed; a token counts wherever it comes from.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from jupyter_server.utils import origin_matches_pat

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origin(StrEnum):
    NONE = "none"
    """No browser: neither `Origin` nor `Sec-Fetch-Site` speaks of another site."""
    SAME = "same"
    LISTED = "listed"
    """`ServerApp.allow_origin` or `allow_origin_pat` names it."""
    WILDCARD = "wildcard"
    """Only `ServerApp.allow_origin = "*"` lets it in."""
    INBAND = "inband"
    """`AgentGateway.inband_origins` lets it open the socket, but no cookie of it counts."""
    CROSS = "cross"


class Credential(StrEnum):
    NONE = "none"
    AMBIENT = "ambient"
    """A cookie, or a server without authentication: the browser sends it whoever asks."""
    EXPLICIT = "explicit"
    """A token that somebody put into this very request."""


class Verdict(StrEnum):
    AUTHENTICATED = "authenticated"
    PENDING = "pending"
    """The socket opens, and one auth frame must bring a token."""
    REFUSED = "refused"


class Allowed(NamedTuple):
    """What the operator lets in. `pattern` is matched against the whole origin."""

    origin: str = ""
    pattern: str = ""
    inband: Collection[str] = ()


def classify(headers: Mapping[str, str], *, protocol: str, allowed: Allowed) -> Origin:
    """Returns where a handshake with these headers comes from; `protocol` is the server's own, http or https."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is None:
        return Origin.NONE if site in (None, "none") else Origin.CROSS
    named = origin.lower()
    if named != "null" and _place(named) == _server_place(headers, protocol):
        return Origin.SAME
    if origin in allowed.inband or named in allowed.inband:
        return Origin.INBAND
    if allowed.origin == "*":
        return Origin.WILDCARD
    if named != "null" and (
        (allowed.origin and allowed.origin == named) or (allowed.pattern and origin_matches_pat(allowed.pattern, named))
    ):
        return Origin.LISTED
    return Origin.CROSS


def judge(origin: Origin, credential: Credential, *, cookies_count: bool) -> Verdict:
    """Returns what becomes of a handshake. `cookies_count` is False where pages of others share our origin."""
    if credential is Credential.EXPLICIT:
        return Verdict.AUTHENTICATED
    if origin is Origin.CROSS:
        return Verdict.REFUSED
    trusted = origin in (Origin.NONE, Origin.SAME, Origin.LISTED)
    if credential is Credential.AMBIENT and trusted and cookies_count:
        return Verdict.AUTHENTICATED
    return Verdict.PENDING


def _server_place(headers: Mapping[str, str], protocol: str) -> tuple[str, str | None, int | None] | None:
    """The origin of the page that this server serves. A proxy that ends TLS says so in a header, which no page can
    set on a handshake."""
    forwarded = headers.get("X-Scheme") or headers.get("X-Forwarded-Proto", "").split(",")[-1].strip()
    scheme = forwarded.lower() if forwarded.lower() in DEFAULT_PORTS else protocol
    return _place(f"{scheme}://{headers.get('Host', '').lower()}")


def _place(origin: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]
