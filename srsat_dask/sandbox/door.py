"""The way in and out of every handler: latency, faults, the token and the log.

Every request but those to the log passes through :meth:`Door.prepare` on its way in and
:meth:`Door.finish` on its way out, its body through :meth:`Door.send`: what faults do to
connections happens there and nowhere else. Errors are never dripped or cut short.
"""

import asyncio
import hmac
import json
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from srsat_dask.sandbox.bodies import wrong_body
from srsat_dask.sandbox.downloads import Signer
from srsat_dask.sandbox.faults import (
    Body,
    Drip,
    Effect,
    Redirect,
    Reset,
    Rule,
    Stall,
    Status,
    Truncate,
)
from srsat_dask.sandbox.geotiffs import SceneFiles
from srsat_dask.sandbox.log import RequestLog
from srsat_dask.sandbox.referee import Referee, Ruling
from srsat_dask.sandbox.render import Renderer
from srsat_dask.sandbox.scenes import SceneProvider

DRIPS_PER_SECOND = 10
"""How often a dripping body sends something, unless it has less than a byte to send."""


@dataclass(frozen=True)
class Service:
    """What every handler needs to know."""

    scenes: dict[str, SceneProvider]
    """Entity id -> scene, in catalogue order."""

    token: str | None
    """The Bearer token asked for, if any."""

    latency: float
    """Seconds added to every answer."""

    referee: Referee
    log: RequestLog
    signer: Signer
    renderer: Renderer = field(default_factory=Renderer)
    files: SceneFiles = field(default_factory=SceneFiles)

    def close(self) -> None:
        """Stop every thread and remove every file."""
        self.files.close()
        self.renderer.close()


class Door(RequestHandler):
    """Base of the handlers: counts, delays, spoils and checks every request."""

    needs_token = True

    def initialize(self, service: Service) -> None:
        """Keep the service at hand."""
        self.service = service
        self._ruling: Ruling | None = None

    async def prepare(self) -> None:
        """Receive a request: log it, hold it back, do what the faults say, ask for the token."""
        self.service.log.begin()
        authorised = self.needs_token and self._has_token()
        self._ruling = self.service.referee.admit(self.request.path, authorised=authorised)
        for rule in self._ruling.delayed_by:
            self.service.log.fire(rule.name)
        await asyncio.sleep(self.service.latency + self._ruling.delay)
        if self._ruling.fault is not None:
            await self._suffer(self._ruling.fault)
        if not self._finished and self.needs_token and not self._has_token():
            raise HTTPError(401, reason="a valid Bearer token is needed")

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Log the answer, then send what is left of it: who has it finds it in the log."""
        self._leave(self.get_status())
        return super().finish(chunk)

    def compute_etag(self) -> None:
        """Make no ETag: a status is final before it is logged."""

    async def send(self, chunks: Iterable[bytes], length: int) -> None:
        """Answer with a body piece by piece, dripped or cut short if a fault says so.

        Parameters
        ----------
        chunks : iterable of bytes
            The body.
        length : int
            Its size, bytes.
        """
        self.set_header("Content-Length", length)
        if self.request.method == "HEAD":
            return
        rule = self._ruling.fault if self._ruling is not None else None
        effect = rule.effect if rule is not None else None
        cut = isinstance(effect, Truncate) and effect.length < length
        if rule is not None and (cut or isinstance(effect, Drip)):
            self.service.log.fire(rule.name)
        try:
            for k, (pause, piece) in enumerate(paced(chunks, effect)):
                if k:
                    await self.flush()
                if pause:
                    await asyncio.sleep(pause)
                self.write(piece)  # the last one is left to finish()
            if cut:
                self._leave(self.get_status())
                await self.flush()
                self.detach().close()
        except StreamClosedError:
            pass  # the client has had enough

    async def send_json(self, value: object) -> None:
        """Answer with a JSON document."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        body = json.dumps(value).encode()
        await self.send([body], len(body))

    async def send_png(self, png: bytes | None) -> None:
        """Answer with a picture, or 404 where there is none."""
        if png is None:
            raise HTTPError(404, reason="outside the footprint of the scene")
        self.set_header("Content-Type", "image/png")
        await self.send([png], len(png))

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer an error as ``{"status": ..., "message": ...}``."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.write(json.dumps({"status": status_code, "message": self._reason}))

    def scene(self, entity_id: str) -> SceneProvider:
        """Find a scene, or 404."""
        try:
            return self.service.scenes[unquote(entity_id)]
        except KeyError:
            raise HTTPError(404, reason="no such scene") from None

    def _has_token(self) -> bool:
        token = self.service.token
        given = self.request.headers.get("Authorization", "")
        return token is None or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())

    async def _suffer(self, rule: Rule) -> None:
        """Do what a fault does before there is an answer; drips and cuts are for :meth:`send`."""
        if isinstance(rule.effect, Drip | Truncate):
            return
        self.service.log.fire(rule.name)
        match rule.effect:
            case Stall(seconds):
                await asyncio.sleep(seconds)
            case Reset():
                self._leave(0)
                stream = self.detach()
                # Lingering for no time makes the kernel send RST in place of FIN.
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                stream.close()
            case Status() as status:
                self.set_status(status.code)
                if status.retry_after is not None:
                    self.set_header("Retry-After", retry_after(status))
                self.write_error(status.code)
                self.finish()
            case Redirect(url):
                self.redirect(url)
            case Body(kind):
                content_type, body = wrong_body(kind)
                self.set_header("Content-Type", content_type)
                self.finish(body)

    def _leave(self, status: int) -> None:
        """Log the end of the request, once."""
        if self._ruling is not None:
            self.service.referee.release(self._ruling)
            self.service.log.end(self.request.path, status)
            self._ruling = None


def retry_after(status: Status) -> str:
    """Value of a ``Retry-After`` header: seconds, or the date that comes no sooner."""
    seconds = status.retry_after or 0
    if not status.as_date:
        return str(seconds)
    date = datetime.now(UTC) + timedelta(seconds=seconds + 1)
    return format_datetime(date.replace(microsecond=0), usegmt=True)


def paced(chunks: Iterable[bytes], effect: Effect | None) -> Iterator[tuple[float, bytes]]:
    """Cut a body into pieces, each with the seconds to wait before it."""
    match effect:
        case Drip(rate):
            size = max(1, int(rate / DRIPS_PER_SECOND))
            for chunk in chunks:
                for first in range(0, len(chunk), size):
                    piece = chunk[first : first + size]
                    yield len(piece) / rate, piece
        case Truncate(left):
            for chunk in chunks:
                if left:
                    yield 0.0, chunk[:left]
                    left -= min(left, len(chunk))
        case _:
            for chunk in chunks:
                yield 0.0, chunk
