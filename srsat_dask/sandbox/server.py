"""The loopback server: starts, tells its address and its log, and stops cleanly."""

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tornado.httpserver import HTTPServer

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.sandbox.door import Service
from srsat_dask.sandbox.downloads import Signer
from srsat_dask.sandbox.faultfile import read_faults
from srsat_dask.sandbox.faults import Expired
from srsat_dask.sandbox.handlers import application
from srsat_dask.sandbox.log import LogSnapshot, RequestLog
from srsat_dask.sandbox.referee import Referee
from srsat_dask.sandbox.scenes import SceneProvider

HOST = "127.0.0.1"


class Sandbox:
    """A Tellus-shaped server on 127.0.0.1, running while the ``with`` block lasts.

    Parameters
    ----------
    scenes : sequence of SceneProvider, optional
        What to serve; without it, scenes of the procedural landscape.
    port : int
        Port to listen on; 0 takes any free one, see :attr:`port`.
    host : str
        Address to listen on; ``0.0.0.0`` lets other machines, or containers, ask.
    token : str, optional
        Bearer token that searches and tiles then ask for.
    latency : float
        Seconds added to every answer.
    faults : str, Path or mapping, optional
        What goes wrong: a YAML file, or what one would hold; see
        :func:`srsat_dask.sandbox.faultfile.read_faults`.
    url_lifetime : float
        Seconds after which a presigned download address is refused.

    Raises
    ------
    BoundsError
        The port, the latency or the lifetime is out of its range.
    InputError
        Two scenes share an entity id, the token is empty, the faults are mistaken, or (on
        entering) the port is taken.

    Examples
    --------
    >>> import requests
    >>> with Sandbox() as sandbox:
    ...     requests.get(sandbox.url + "/_sandbox/log", timeout=9).json()["total"]
    0
    """

    def __init__(
        self,
        scenes: Sequence[SceneProvider] | None = None,
        *,
        port: int = 0,
        host: str = HOST,
        token: str | None = None,
        latency: float = 0.0,
        faults: str | Path | Mapping[str, object] | None = None,
        url_lifetime: float = 300.0,
    ) -> None:
        if not 0 <= port <= 65535:
            raise BoundsError(f"port {port} is out of range: choose 1 to 65535, or 0 for any")
        if not (math.isfinite(latency) and latency >= 0):
            raise BoundsError(f"latency {latency} is out of range: give seconds, 0 or more")
        if not (math.isfinite(url_lifetime) and url_lifetime > 0):
            raise BoundsError(f"url_lifetime {url_lifetime} is out of range: give more seconds")
        if token is not None and not token.strip():
            raise InputError("the token is empty: give one, or None to serve without")
        self._faults = read_faults(faults)
        if token is None:
            for rule in self._faults.rules:
                if isinstance(rule.trigger, Expired):
                    raise InputError(f"{rule.name}: there is no token to expire: give one")
        if scenes is None:
            from srsat_dask.sandbox.landscape import landscape_scenes

            scenes = landscape_scenes()
        self._catalogue = {scene.entity_id: scene for scene in scenes}
        if len(self._catalogue) < len(scenes):
            raise InputError("two scenes share an entity id: each must have its own")
        self._host = host
        self._asked_port, self._token, self._latency = port, token, latency
        self._url_lifetime = url_lifetime
        self._log = RequestLog(tuple(rule.name for rule in self._faults.rules))
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread: threading.Thread | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise InputError("this sandbox already runs: make another")
        # Bound here, not in the thread: a taken port is the caller's error, and requests sent
        # before the loop turns wait in the socket's queue.
        listener = self._bind()
        self._port = listener.getsockname()[1]
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)), name="sandbox", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is None or self._stop is None:
            return
        loop, stop = self._stop
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()
        self._thread = self._stop = self._port = None

    @property
    def port(self) -> int:
        """The port listened on."""
        if self._port is None:
            raise InputError("the sandbox is not running: enter its with block first")
        return self._port

    @property
    def url(self) -> str:
        """The address to give to clients, without a slash at its end."""
        return f"http://{self._host}:{self.port}"

    @property
    def log(self) -> LogSnapshot:
        """What was asked so far; a snapshot that later requests do not change."""
        return self._log.snapshot()

    @property
    def scenes(self) -> list[SceneProvider]:
        """What is served."""
        return list(self._catalogue.values())

    def serve_forever(self) -> None:
        """Block until Ctrl-C or SIGTERM; call it in the main thread, inside the ``with`` block."""
        asked = threading.Event()

        def ask(_number: int, _frame: FrameType | None) -> None:
            asked.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            asked.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _bind(self) -> socket.socket:
        try:
            listener = socket.create_server((self._host, self._asked_port))
        except OSError as error:
            raise InputError(
                f"cannot listen on port {self._asked_port} ({error.strerror}): "
                "choose another, or 0 for any free one"
            ) from error
        listener.setblocking(False)
        return listener

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        """Serve until asked to stop, then leave no socket and no thread behind."""
        referee = Referee(self._faults)
        signer = Signer(self._url_lifetime)
        service = Service(self._catalogue, self._token, self._latency, referee, self._log, signer)
        server = HTTPServer(application(service))
        server.add_socket(listener)
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        started.set_result(None)
        await stop.wait()
        server.stop()
        await server.close_all_connections()
        service.close()
