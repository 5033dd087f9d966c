"""The limits against slow and endless clients work with the installed uvicorn, on whose internals they depend."""

import asyncio
import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from finetext.serving import ServeConfig, protocol
from finetext.serving.protocol import LimitedProtocol

HOOKS = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "pause_writing": ["self"],
    "resume_writing": ["self"],
    "data_received": ["self", "data"],
    "on_message_begin": ["self"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "_start_asgi_task": ["self", "cycle", "app"],
    "send_400_response": ["self", "msg"],
}
"""The methods that `LimitedProtocol` overrides, with their parameters."""
REQUEST = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("hook", HOOKS)
def test_uvicorn_has_each_hook_that_is_overridden(hook):
    assert hook in vars(LimitedProtocol)
    assert list(inspect.signature(vars(HttpToolsProtocol)[hook]).parameters) == HOOKS[hook]


def test_every_override_is_a_hook_of_uvicorn():
    overridden = {
        name
        for name in vars(LimitedProtocol)
        if hasattr(HttpToolsProtocol, name) and not name.startswith("__")
    }
    assert overridden == set(HOOKS)


class Transport:
    """A transport that records what is written to it."""

    def __init__(self):
        self.written, self.closed, self.aborted, self.reading = b"", False, False, True

    def get_extra_info(self, name):
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name)

    def is_closing(self):
        return self.closed

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = self.aborted = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class App:
    """An application that never responds, or refuses requests immediately while it is full."""

    def __init__(self, **options):
        self.service = type("Service", (), {"config": ServeConfig(**options)})
        self.full, self.malformed = False, 0
        self.scopes = []

    def is_full_for(self, scope):
        return self.full

    def count_malformed(self):
        self.malformed += 1

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if not self.full:
            await asyncio.Event().wait()
        await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def connected(check, **options):
    """Run a check with a connection in an event loop."""

    async def run():
        app, transport = App(**options), Transport()
        config = uvicorn.Config(
            app, http=LimitedProtocol, ws="none", lifespan="off", log_config=None, interface="asgi3"
        )
        config.load()
        config.loaded_app = app  # without uvicorn's middleware, as with proxy_headers=False
        connection = LimitedProtocol(config, ServerState(), {})
        connection.connection_made(transport)
        try:
            await check(connection, transport, app)
        finally:
            for task in connection.tasks:
                task.cancel()
            if not transport.closed:
                connection.connection_lost(None)

    asyncio.run(run())


def test_a_missing_request_head_closes_the_connection():
    async def check(connection, transport, app):
        connection.data_received(b"POST /cl")
        await asyncio.sleep(0.15)
        assert transport.closed

    connected(check, timeout_seconds=0.1)


def test_the_head_timeout_restarts_with_every_request():
    async def check(connection, transport, app):
        connection.data_received(REQUEST)
        assert connection._head_timer is None
        await asyncio.sleep(0.15)
        assert not transport.closed and len(app.scopes) == 1

    connected(check, timeout_seconds=0.1)


def test_an_endless_request_head_is_refused():
    async def check(connection, transport, app):
        for _ in range(2 * protocol.MAX_OVERHEAD_BYTES // 1024):
            if transport.closed:
                break
            connection.data_received(b"X-A: b\r\n" * 128 if transport.written else b"GET /" + b"a" * 1019)
        await asyncio.sleep(0)
        assert transport.closed and app.malformed == 1
        assert (
            transport.written.startswith(b"HTTP/1.1 400") and b"content-security-policy" in transport.written
        )

    connected(check)


def test_a_body_does_not_count_as_overhead():
    async def check(connection, transport, app):
        connection.data_received(REQUEST.replace(b"1000", b"1000000"))
        for _ in range(4):
            connection.data_received(b"a" * protocol.MAX_OVERHEAD_BYTES)
        assert not transport.closed and not app.malformed

    connected(check)


def test_too_many_pipelined_requests_are_refused():
    async def check(connection, transport, app):
        one = REQUEST.replace(b"1000", b"0")
        connection.data_received(one * (protocol.MAX_PIPELINED + 1))
        assert not transport.closed and len(connection.pipeline) == protocol.MAX_PIPELINED
        connection.data_received(one)
        assert transport.closed

    connected(check)


def test_a_client_that_does_not_read_is_disconnected():
    async def check(connection, transport, app):
        connection.pause_writing()
        await asyncio.sleep(0.15)
        assert transport.aborted

    connected(check, timeout_seconds=0.1)


def test_a_request_to_a_full_server_is_refused_without_a_task():
    async def check(connection, transport, app):
        app.full = True
        connection.data_received(REQUEST.replace(b"1000", b"0"))
        assert not connection.tasks and len(app.scopes) == 1
        await asyncio.sleep(0)  # what is written in one iteration of the loop is sent at its end
        assert transport.written.startswith(b"HTTP/1.1 429") and connection.cycle.response_complete

    connected(check)


def test_every_pending_request_is_told_of_the_disconnect():
    async def check(connection, transport, app):
        connection.data_received(REQUEST + b"a" * 1000 + REQUEST)
        first = connection._running
        connection.connection_lost(None)
        transport.closed = True
        assert first is not connection.cycle and first.disconnected and first.message_event.is_set()

    connected(check)


def test_uvicorn_has_the_attributes_that_the_limits_read():
    cycle = set(inspect.signature(RequestResponseCycle.__init__).parameters)
    assert {"scope", "message_event"} <= cycle and inspect.iscoroutinefunction(RequestResponseCycle.run_asgi)
    assert list(inspect.signature(RequestResponseCycle.run_asgi).parameters) == ["self", "app"]
    source = inspect.getsource(RequestResponseCycle.__init__)
    for name in ("disconnected", "keep_alive", "more_body", "response_started", "response_complete"):
        assert f"self.{name}" in source
    assert hasattr(FlowControl(Transport()), "write_paused")
    assert isinstance(inspect.getattr_static(uvicorn.Server, "capture_signals"), type(lambda: 0))
