"""Who may speak to the server: a browser on this machine that was given the address, and no page of another site.

The token is in the address that is printed. With it the page itself is given, and a cookie for all that the page asks
afterwards; without either the answer is 403. The name in Host must be this server's (a foreign name that was made to point
here, DNS rebinding, has another), and Origin, where a browser sends it, and always for sockets, must be this server too.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

__all__ = ["Guard"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' {socket}; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """An ASGI application that lets through to another what may pass, and gives every answer its headers.

    Args:
        app: what is guarded.
        host: where the server listens.
        port: and at which port.
        token: what the address must hold; made if left open.
    """

    app: Any
    host: str
    port: int
    token: str
    cookie: str

    def __init__(self, app: Any, host: str, port: int, token: str | None = None) -> None:
        self.app, self.host, self.port = app, host, port
        self.token = token or secrets.token_urlsafe(24)
        self.cookie, self._pass = f"taut-{port}", secrets.token_urlsafe(24)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal})
            else:
                await self.app(scope, receive, send)
            return
        welcome = not refusal and self._has_token(scope)

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers(headers.get("host", ""), welcome)]
            await send(message)

        if refusal:
            body = f"taut: {refusal}\n".encode()
            kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await sending({"type": "http.response.start", "status": 403, "headers": kind})
            await sending({"type": "http.response.body", "body": body})
        else:
            await self.app(scope, receive, sending)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """Why a request may not pass; none if it may."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._own(host):
            return f"Host {host[:60]!r} is not this server; use the address that taut explore printed"
        if origin is None and scope["type"] == "websocket":
            return "a socket needs an Origin"
        if origin is not None and origin != f"http://{host}":
            return f"Origin {origin[:60]!r} is not this server"
        arriving = scope["type"] == "http" and scope["path"] == "/" and self._has_token(scope)
        # a link on another page may lead here, if it has the token; nothing else of another page's doing may pass
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not arriving:
            return "another site may not ask"
        if not arriving and not self._has_cookie(headers):
            return "the token is missing; use the address that taut explore printed"
        return None

    def _own(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "80")
        if port != str(self.port) or not name:
            return False
        name = name.strip("[]").lower()
        if name in {"localhost", "127.0.0.1", "::1", self.host.lower()}:
            return True
        if self.host not in ("0.0.0.0", "::"):
            return False
        # listening to all the world was asked for: an address is no name that someone else could have made point here
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self._pass.encode())

    def _headers(self, host: str, welcome: bool) -> list[tuple[bytes, bytes]]:
        said = {
            "content-security-policy": POLICY.format(socket=f"ws://{host}" if self._own(host) else ""),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }
        if welcome:
            said["set-cookie"] = f"{self.cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict"
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in said.items()]
