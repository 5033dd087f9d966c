"""Access control: the Host, Origin and Authorization headers."""

import hashlib
import hmac
import ipaddress
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from finetext.serving.errors import ApiError
from finetext.serving.http import PUBLIC_ROUTES, STATIC, header
from finetext.serving.settings import ServeConfig


class AccessControl:
    """Admits requests that name this server, come from no other site, and have the token."""

    def __init__(self, app: ASGIApp, config: ServeConfig, token: str | None) -> None:
        self.app = app
        self._names = _names(config)
        self._any_address = _is_wildcard(config.host)
        self._token = None if token is None else _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise ApiError."""
        host = header(scope, b"host") or ""
        if not self._is_own_name(host):
            raise ApiError(
                403,
                "The Host header names another server. To allow it, start this one with --allow-host NAME.",
            )
        origin = header(scope, b"origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise ApiError(403, "Requests from pages of other sites are refused.")
        path = scope["path"]
        if self._token is not None and path not in PUBLIC_ROUTES and not path.startswith(STATIC):
            scheme, _, sent = (header(scope, b"authorization") or "").partition(" ")
            matches = hmac.compare_digest(_digest(sent.strip().encode("latin-1")), self._token)
            if not matches or scheme.lower() != "bearer":
                raise ApiError(
                    401,
                    "Send the token: Authorization: Bearer TOKEN.",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        await self.app(scope, receive, send)

    def _is_own_name(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in self._names or (self._any_address and _is_address(name))


def _digest(token: bytes) -> bytes:
    # Comparing digests takes the same time whatever the lengths.
    return hashlib.sha256(token).digest()


def _names(config: ServeConfig) -> set[str]:
    names = {"localhost", "127.0.0.1", "::1", config.host, *config.allow_host}
    if _is_wildcard(config.host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return {name.strip("[]").lower() for name in names if name}


def _is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")


def _is_address(name: str) -> bool:
    # Behind a wildcard any address may be this machine's, and no other site can make a browser send one as Host.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
