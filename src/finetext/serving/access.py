"""Who may enter: the Host, Origin and Authorization headers."""

import hashlib
import hmac
import ipaddress
import socket

from finetext.serving.errors import Refusal
from finetext.serving.http import OPEN, STATIC, App, Receive, Scope, Send, header
from finetext.serving.settings import ServeConfig


class Gate:
    """Lets in who names this server, comes from no other site, and has the token."""

    def __init__(self, app: App, config: ServeConfig, token: str | None) -> None:
        self.app = app
        self._names = _names(config)
        self._any_address = _is_wildcard(config.host)
        self._token = None if token is None else _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise Refusal."""
        host = header(scope, b"host") or ""
        if not self._knows(host):
            raise Refusal(403, "The Host header names another server. Start this one with --allow-host NAME.")
        origin = header(scope, b"origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refusal(403, "Requests from pages of other sites are refused.")
        path = scope["path"]
        if self._token is not None and path not in OPEN and not path.startswith(STATIC):
            scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
            right = hmac.compare_digest(_digest(given.strip().encode("latin-1")), self._token)
            if not right or scheme.lower() != "bearer":
                raise Refusal(
                    401,
                    "Send the token: Authorization: Bearer TOKEN.",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        await self.app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in self._names or (self._any_address and _is_address(name))


def _digest(token: bytes) -> bytes:
    # Of digests the comparison takes the same time whatever the lengths.
    return hashlib.sha256(token).digest()


def _names(config: ServeConfig) -> set[str]:
    names = {"localhost", "127.0.0.1", "::1", config.host, *config.allow_host}
    if _is_wildcard(config.host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return {name.strip("[]").lower() for name in names if name}


def _is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")


def _is_address(name: str) -> bool:
    # Behind a wildcard any address may be ours, and no other site can make a browser send one in Host.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
