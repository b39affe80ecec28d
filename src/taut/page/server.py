"""The server: a few files, two lists as JSON, and one socket on which questions are asked and answered in frames.

A question is a JSON text {"id", "run", "kind", "fields"}; its answer is a frame (:mod:`taut.page.frames`) of the same id,
or one of kind "error" with a sentence. Models are asked in one thread, one question at a time and of each socket one, so
that no page waits long for another; what needs only files is answered beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from taut.errors import InputError
from taut.page.catalogue import Catalogue
from taut.page.desk import Desk
from taut.page.guard import Guard

__all__ = ["Office", "application", "bind", "opened", "require", "serve"]

STATIC = Path(__file__).parent / "static"
MESSAGE = 8_000_000  # characters of a question, at most
FRAME = 32_000_000  # bytes of a message that is still answered, with a refusal; beyond, the socket is closed
WAITING = 64  # questions of one socket at a time
DESKS = 4  # models that are kept loaded
PORT, TRIES = 8421, 40
PAUSE = 1.5  # seconds from the first view to the reading of what models need


class Office:
    """The runs, the desks that are laid out, and the thread that models are asked in.

    Args:
        catalogue: the runs.
        trust: modules outside the package whose parts may be used.
        root: the folder of the named data sets.
    """

    catalogue: Catalogue

    def __init__(self, catalogue: Catalogue, trust: Sequence[str] = (), root: str | None = None) -> None:
        self.catalogue, self._trust, self._root = catalogue, tuple(trust), root
        self._desks: OrderedDict[tuple[str, float], Desk] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "models")
        self._warming: threading.Timer | None = None

    def begin(self) -> None:
        """Read what saved files are answered with, while the browser is at the first files of the page."""
        names = ("taut.page.frames", "taut.page.answers", "taut.explore.atlas", "taut.explore.watching")
        threading.Thread(target=lambda: [importlib.import_module(name) for name in names], daemon=True).start()

    def warm(self) -> None:
        """Read what models need in a moment, unless a question does so before: torch holds up all else while it loads, so
        what is saved is shown first. Only the first call counts."""
        if self._warming is None:
            self._warming = threading.Timer(PAUSE, self._prepare)
            self._warming.daemon = True
            self._warming.start()

    def _prepare(self) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            self._thread.submit(_prepared)

    def close(self) -> None:
        """Let go of the thread; what it is at is not waited for."""
        if self._warming is not None:
            self._warming.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def desk(self, known: str) -> Desk:
        """The desk of a run; a new one where its weights have changed.

        Raises:
            InputError: where there is no such run.
        """
        entry = self.catalogue.entry(known)
        weights = entry.folder / "model.safetensors"
        name = (known, weights.stat().st_mtime if weights.is_file() else 0.0)
        if name not in self._desks:
            self._desks[name] = Desk(entry, self.catalogue, self._trust, self._root)
            while len(self._desks) > DESKS:
                self._desks.popitem(last=False)
        self._desks.move_to_end(name)
        return self._desks[name]

    async def ask(self, message: Any) -> bytes:
        """The frame that answers a question, whatever it is."""
        known = message.get("id") if isinstance(message, dict) else None
        known = known if type(known) is int and 0 <= known < 2**53 else None
        try:
            if not isinstance(message, dict):
                raise InputError("message", "is no object", 'give {"id", "run", "kind", "fields"}')
            if strange := set(message) - {"id", "run", "kind", "fields"}:
                raise InputError(f"message.{min(strange)[:40]}", "is no field", 'give {"id", "run", "kind", "fields"}')
            if known is None:
                raise InputError("id", "is no whole number from 0 on", "count questions")
            if not isinstance(message.get("run"), str):
                raise InputError("run", "is not given", "give the id of a run")
            loop = asyncio.get_running_loop()
            question, desk = await loop.run_in_executor(
                None, lambda: (_read(message.get("kind"), message.get("fields", {})), self.desk(message["run"]))
            )
            where = None if question.light else self._thread
            return await loop.run_in_executor(where, self._answered, known, question, desk)
        except InputError as error:
            return _failed(known, str(error))

    @staticmethod
    def _answered(known: int, question: Any, desk: Desk) -> bytes:
        """The answer's frame, made in the thread that answers; a fault is told, and ends nothing."""
        try:
            if not question.light:
                _prepared()
            reply = question.answer(desk)
            return _frame({"id": known, "kind": question.kind, **_finite(reply.meta)}, reply.arrays)
        except InputError as error:
            return _failed(known, str(error))
        except MemoryError:
            return _failed(known, "memory: not enough for this question; ask for less")
        except Exception as error:
            if os.environ.get("TAUT_DEBUG"):
                raise
            said = next(iter(str(error).splitlines()), "")[:200]
            return _failed(known, f"{type(error).__name__}: {said}; this is a fault in taut")


def application(office: Office) -> Any:
    """The unguarded application.

    Raises:
        InputError: where what the page needs is not installed.
    """
    require()
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles

    async def index(request: Any) -> Any:
        return FileResponse(STATIC / "index.html")

    def runs(request: Any) -> Any:
        views = sorted(path.stem for path in (STATIC / "views").glob("*.js"))
        return JSONResponse({"views": views, "runs": _finite([entry.brief() for entry in office.catalogue.entries()])})

    def run(request: Any) -> Any:
        try:
            content = _finite(office.catalogue.entry(request.path_params["known"]).full())
            return JSONResponse(content, background=BackgroundTask(office.warm))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)

    return Starlette(routes=[
        Route("/", index),
        Route("/api/runs", runs),
        Route("/api/runs/{known}", run),
        WebSocketRoute("/socket", lambda ws: _converse(ws, office)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ])  # fmt: skip


async def _converse(ws: Any, office: Office) -> None:
    """Answer what one page asks until it goes: questions for a model in their order, the others as they come."""
    from starlette.websockets import WebSocketDisconnect

    await ws.accept()
    turn, speaking, tasks = asyncio.Lock(), asyncio.Lock(), set()

    async def answer(message: Any) -> None:
        light = isinstance(message, dict) and _is_light(message.get("kind"))
        async with contextlib.nullcontext() if light else turn:
            frame = await office.ask(message)
        await say(frame)

    async def say(frame: bytes) -> None:
        # the page may have gone in the meantime
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            async with speaking:
                await ws.send_bytes(frame)

    try:
        while True:
            received = await ws.receive()
            if received["type"] == "websocket.disconnect":
                break
            try:
                message = _message(received)
                if len(tasks) >= WAITING:
                    raise InputError("message", f"is one of more than {WAITING} at a time", "wait for answers")
            except InputError as error:
                await say(_failed(_id_of(received), str(error)))
                continue
            task = asyncio.create_task(answer(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except WebSocketDisconnect:
        pass
    finally:
        for task in tasks:
            task.cancel()


def _message(received: dict[str, Any]) -> Any:
    """The JSON of a message, as strict as the standard is.

    Raises:
        InputError: where it is none, or is too long or too deep.
    """
    said = received.get("text")
    if said is None:
        raise InputError("message", "is binary", "ask in JSON text")
    if len(said) > MESSAGE:
        raise InputError("message", f"is {len(said):,} characters long", f"give {MESSAGE:,} or fewer")
    try:
        return json.loads(said, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is no JSON ({str(error)[:80]})"
        raise InputError("message", reason, 'give {"id", "run", "kind", "fields"}') from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


def _id_of(received: dict[str, Any]) -> int | None:
    """The id of a message that was refused, if it can be had cheaply."""
    with contextlib.suppress(InputError):
        message = _message(received)
        return message.get("id") if isinstance(message, dict) and type(message.get("id")) is int else None
    return None


def _is_light(kind: Any) -> bool:
    from taut.page.answers import Question

    return isinstance(kind, str) and kind in Question.known and Question.known[kind].light


def _read(kind: Any, fields: Any) -> Any:
    from taut.page.answers import read

    return read(kind, fields)


def _failed(known: int | None, sentence: str) -> bytes:
    return _frame({"id": known, "kind": "error", "error": sentence.encode("utf-8", "replace").decode()})


def _frame(meta: dict[str, Any], arrays: Any = None) -> bytes:
    # numpy is not needed for the address and the list of runs, and is read beside them
    from taut.page.frames import pack

    return pack(meta, arrays)


def _finite(content: Any) -> Any:
    """The same content with null for every number that JSON does not have."""
    if isinstance(content, float) and not -1e308 < content < 1e308:
        return None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, (list, tuple)) else content


@cache
def _prepared() -> None:
    """What models need, and few threads: a small model is decoded fastest by one, and the page's own must have a core."""
    import torch

    importlib.import_module("taut.runs")
    torch.set_num_threads(max(1, min(4, (os.cpu_count() or 2) // 2)))


def require() -> None:
    """See that what the page needs is there.

    Raises:
        InputError: saying what to install.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError("explore", f"needs {error.name}", "pip install 'taut[page]'") from None


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens; without a port, at the first free one of a few.

    Raises:
        InputError: where there is none.
    """
    failure: OSError | None = None
    for number in [port] if port is not None else range(PORT, PORT + TRIES):
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(
                "--host", f"{host} is no address ({error.strerror})", "leave it out for 127.0.0.1"
            ) from None
        try:
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            failure = error
    where = f"{port} is not free" if port is not None else f"none from {PORT} to {PORT + TRIES - 1} is free"
    raise InputError("--port", f"{where} ({failure.strerror})", "name another, or leave it out")


def opened(office: Office, host: str = "127.0.0.1", port: int | None = None) -> tuple[Any, socket.socket, str]:
    """A uvicorn server that is ready to run, the socket that it listens on, and the address with the token."""
    app = application(office)
    import uvicorn

    listening = bind(host, port)
    number = listening.getsockname()[1]
    guard = Guard(app, host, number)
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    server = uvicorn.Server(uvicorn.Config(
        guard, log_level="critical", lifespan="off", ws="websockets-sansio", ws_max_size=FRAME,
        ws_per_message_deflate=False, timeout_graceful_shutdown=1, server_header=False,
    ))  # fmt: skip
    return server, listening, f"http://{name}:{number}/?token={guard.token}"


def serve(
    office: Office,
    host: str = "127.0.0.1",
    port: int | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until a signal comes.

    Args:
        office: what is served.
        host: where to listen.
        port: at which port; the first free one if left open.
        ready: called with the address, token included, once it can be opened.
    """
    server, listening, address = opened(office, host, port)
    with listening:
        ready(address)
        office.begin()
        try:
            server.run(sockets=[listening])
        finally:
            office.close()
