"""How fast a harvest is, against the article's loop, contextily and the machine; prints tables.

    pip install contextily && python tests/benchmarks/harvest.py

One server, in a process of its own, writes ready-made answers (256 px RGBA PNGs of a noisy texture,
168 KB each; tiles of a real town have 172 KB) and does little else, so that it is not the server
that is measured; what it takes is a column of the table. The two rows of a *bare loop* use the
harvest's own requests and decoder in two processes, without Dask and without a store: what is left
of a harvest's time is theirs. All figures are of one run.
"""

import argparse
import asyncio
import io
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import mercantile
import numpy as np
import psutil
import requests
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

ZOOM = 17
CORNER = (116_000, 51_000)
"""Column and row of the first tile, in Japan."""

BODIES = 64
LATENCY = 0.1
"""Seconds."""

SIDE, LARGE = 32, 81
"""Tiles along a side of the areas: 1,024 and 6,561 in all."""


class Run(NamedTuple):
    """What a case took."""

    tiles: int
    """Tiles that came."""
    seconds: float
    """Wall time."""
    cpu: float
    """CPU seconds of every process but the server's."""
    peak: float | None = None
    """Largest resident size of a worker, MB."""


def bodies() -> list[bytes]:
    """Return encoded tiles that compress about as well as real imagery does."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(128, 160, (BODIES, 256, 256, 3)), (0, 1.5, 1.5, 0))
    encoded = []
    for image in np.clip(noise, 0, 255).astype(np.uint8):
        buffer = io.BytesIO()
        rgba = np.dstack([image, np.full((256, 256, 1), 255, np.uint8)])
        Image.fromarray(rgba).save(buffer, "PNG", compress_level=1)
        encoded.append(buffer.getvalue())
    return encoded


class Responder(asyncio.Protocol):
    """Answers each request of a connection with bytes made beforehand."""

    tiles: tuple[bytes, ...]
    search: bytes
    latency: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the request's empty line is there, after the latency."""
        self.received += data
        if not self.received.endswith(b"\r\n\r\n"):
            return
        path = self.received.split(b" ", 2)[1]
        self.received = b""
        answer = self.search
        if path.endswith(b".png"):
            x, y = path[:-4].rsplit(b"/", 2)[1:]
            answer = self.tiles[(int(x) * 31 + int(y)) % BODIES]
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self.transport.write, answer)
        else:
            self.transport.write(answer)


def serve(side: int, latency: float) -> None:
    """Serve one scene of ``side`` × ``side`` tiles until standard input closes."""
    first = mercantile.bounds(*CORNER, ZOOM)
    last = mercantile.bounds(CORNER[0] + side - 1, CORNER[1] + side - 1, ZOOM)
    scene = {
        "entityId": "bench_AS1",
        "min_lon": first.west,
        "max_lat": first.north,
        "max_lon": last.east,
        "min_lat": last.south,
    }

    def answer(kind: str, body: bytes) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    Responder.tiles = tuple(answer("image/png", body) for body in bodies())
    Responder.search = answer("application/json", json.dumps([scene]).encode())
    Responder.latency = latency

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Responder, "127.0.0.1", 0, backlog=512)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)

    asyncio.run(main())


class Server(NamedTuple):
    """A running server."""

    url: str
    process: psutil.Process


@contextmanager
def serving(side: int, latency: float) -> Iterator[Server]:
    """Run the server in a process of its own and point the environment at it."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(side), str(latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"
    os.environ.update(SRSAT_TELLUS_URL=url, SRSAT_TELLUS_TOKEN="bench")
    try:
        yield Server(url, psutil.Process(process.pid))
    finally:
        process.stdin.close()
        process.wait(10)


def address(url: str, number: int) -> str:
    """Return the address of one of the tiles."""
    row, column = divmod(number, SIDE)
    return f"{url}/ASNARO-1/bench_AS1/{ZOOM}/{CORNER[0] + column}/{CORNER[1] + row}.png"


def article_loop(url: str, count: int = 60) -> Run:
    """Fetch tiles one by one, each with a ``requests.get`` of its own, as the article does."""
    start, cpu = time.perf_counter(), cpu_seconds()
    for number in range(count):
        answer = requests.get(
            address(url, number), headers={"Authorization": "Bearer bench"}, timeout=30
        )
        np.asarray(Image.open(io.BytesIO(answer.content)))
    return Run(count, time.perf_counter() - start, cpu_seconds() - cpu)


def contextily(url: str) -> Run:
    """Fetch the area with contextily, 16 connections at once; it stores nothing."""
    from contextily import bounds2img

    source = f"{url}/ASNARO-1/bench_AS1/{{z}}/{{x}}/{{y}}.png"
    first = mercantile.xy_bounds(*CORNER, ZOOM)
    last = mercantile.xy_bounds(CORNER[0] + SIDE - 1, CORNER[1] + SIDE - 1, ZOOM)
    box = (first.left + 1, last.bottom + 1, last.right - 1, first.top - 1)
    start, cpu = time.perf_counter(), cpu_seconds()
    bounds2img(*box, zoom=ZOOM, source=source, ll=False, n_connections=16, use_cache=False)
    return Run(SIDE**2, time.perf_counter() - start, cpu_seconds() - cpu)


def bare_loop(url: str, decode: bool) -> Run:
    """Fetch the area in two processes with the harvest's connections, and nothing more."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as processes:
        processes.starmap(bare_half, [(url, range(64), decode)] * 2, 1)  # imports, connections
        halves = [range(half, SIDE**2, 2) for half in (0, 1)]
        start = time.perf_counter()
        cpu = sum(processes.starmap(bare_half, [(url, half, decode) for half in halves], 1))
        return Run(SIDE**2, time.perf_counter() - start, cpu)


def bare_half(url: str, numbers: range, decode: bool) -> float:
    """Fetch tiles with half of the default concurrency; return the CPU seconds it took."""
    from srsat_dask.harvesting import http
    from srsat_dask.harvesting.politeness import CONCURRENCY
    from srsat_dask.harvesting.shard import prepare_thread

    ask: Callable[[str, str], object] = http.get_tile if decode else http.get
    cpu = cpu_seconds()
    with ThreadPoolExecutor(CONCURRENCY // 2, initializer=prepare_thread) as threads:
        list(threads.map(lambda number: ask(address(url, number), "bench"), numbers))
    return cpu_seconds() - cpu


def ours(side: int, workers: int) -> Run:
    """Harvest the area with the default concurrency and no rate."""
    from distributed import Client, LocalCluster

    from srsat_dask.harvesting.run import harvest, search

    folder = tempfile.mkdtemp()
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        scenes = search((130.0, 20.0, 150.0, 45.0))
        client.run(lambda: __import__("srsat_dask.harvesting.run"))
        before = sum(client.run(cpu_seconds).values()) + cpu_seconds()
        start = time.perf_counter()
        report = harvest(scenes, f"{folder}/m.zarr", zoom=ZOOM, rate=math.inf, progress=False)
        seconds = time.perf_counter() - start
        cpu = sum(client.run(cpu_seconds).values()) + cpu_seconds() - before
        peak = max(client.run(peak_megabytes).values())
    shutil.rmtree(folder)
    assert report.states["stored"] == side**2, report
    return Run(side**2, seconds, cpu, peak)


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    times = psutil.Process().cpu_times()
    return times.user + times.system


def peak_megabytes() -> float:
    """Return the largest resident size of this process (Linux)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def steps() -> list[tuple[str, float]]:
    """Return what each step of a tile takes by itself, one thread: CPU milliseconds per tile."""
    from srsat_dask.harvesting import http
    from srsat_dask.harvesting.decoding import decode_tile
    from srsat_dask.harvesting.shard import prepare_thread
    from srsat_dask.mosaic.grid import TileRange
    from srsat_dask.mosaic.ledger import digest, write_shard
    from srsat_dask.mosaic.store import create_scene

    prepare_thread()
    encoded = bodies()

    def timed(step: Callable[[int], object], times: int, tiles: int = 1) -> float:
        step(0)
        start = time.process_time()
        for number in range(times):
            step(number)
        return 1000 * (time.process_time() - start) / times / tiles

    with serving(SIDE, 0) as server:
        found = [("fetch", timed(lambda n: http.get(address(server.url, n), "bench"), 512))]
        took = sum(server.process.cpu_times()[:2])
        timed(lambda n: http.get(address(server.url, n), "bench"), 512)
        served = (sum(server.process.cpu_times()[:2]) - took) * 1000 / 513
    found.append(("decode", timed(lambda n: decode_tile(encoded[n % BODIES]), 512)))
    tiles = [decode_tile(body)[..., :3].transpose(2, 0, 1) for body in encoded]
    image = np.concatenate(
        [np.concatenate(tiles[row : row + 8], axis=2) for row in range(0, 64, 8)], axis=1
    )
    valid = np.ones(image.shape[1:], np.uint8)
    states = np.ones((8, 8), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        area = TileRange(ZOOM, *CORNER, CORNER[0] + SIDE, CORNER[1] + SIDE).georeference
        scene = create_scene(f"{folder}/m.zarr", "a", georeference=area, lineage={}, smooth=False)
        windows = [window for _, window in scene.shards()]
        wrote = timed(lambda n: write_shard(scene, windows[n], image, valid), 16, 64)
    signed = timed(lambda _: digest(image, valid, states), 4, 64)
    found += [("compress and write", wrote - signed), ("SHA-256", signed), ("server", served)]
    return found


def main() -> None:
    """Run all cases and print the tables."""
    table = Table(title="harvest, tiles of 256 px, 168 KB")
    for title in ("case", "tiles", "tiles/s", "ratio", "CPU ms/tile", "server", "worker peak MB"):
        table.add_column(title, justify="left" if title == "case" else "right")

    def row(case: str, server: Server, run: Callable[[], Run], base: Run | None = None) -> Run:
        before = sum(server.process.cpu_times()[:2])
        done = run()
        served = sum(server.process.cpu_times()[:2]) - before
        speed = done.tiles / done.seconds
        table.add_row(
            case,
            str(done.tiles),
            f"{speed:.1f}",
            f"{speed * base.seconds / base.tiles:.1f} ×" if base else "1.0 ×",
            f"{1000 * done.cpu / done.tiles:.2f}",
            f"{1000 * served / done.tiles:.2f}",
            f"{done.peak:.0f}" if done.peak else "",
        )
        return done

    with serving(SIDE, LATENCY) as server:
        article = row("article's loop, 100 ms latency", server, lambda: article_loop(server.url))
        row("ours, 100 ms, 2 workers", server, lambda: ours(SIDE, 2), article)
        row("bare loop, 100 ms, fetch", server, lambda: bare_loop(server.url, False), article)
        row("bare loop, 100 ms, decode", server, lambda: bare_loop(server.url, True), article)
    base = None
    with serving(SIDE, 0) as server:
        if find_spec("contextily"):
            base = row("contextily, no latency", server, lambda: contextily(server.url))
        row("ours, no latency, 1 worker", server, lambda: ours(SIDE, 1), base)
        row("ours, no latency, 2 workers", server, lambda: ours(SIDE, 2), base)
        row("bare loop, no latency, fetch", server, lambda: bare_loop(server.url, False), base)
        row("bare loop, no latency, decode", server, lambda: bare_loop(server.url, True), base)
    with serving(LARGE, 0) as server:
        row("ours, no latency, 2 workers", server, lambda: ours(LARGE, 2), base)
    console = Console(width=110)
    console.print(table)

    taken = steps()
    parts = ", ".join(f"{name} {cost:.2f}" for name, cost in taken)
    total, cores = sum(cost for _, cost in taken), os.cpu_count() or 1
    console.print(f"A tile, each step alone on one core, CPU ms: {parts}; together {total:.2f}.")
    console.print(
        f"{cores} cores cannot harvest more than {1000 * cores / total:.0f} tiles/s here."
    )
    if base:
        wanted = 5 * base.tiles / base.seconds
        console.print(
            f"5 × contextily would be {wanted:.0f} tiles/s, {1000 * cores / wanted:.2f} ms a tile."
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=2, metavar=("SIDE", "LATENCY"))
    asked = parser.parse_args().serve
    if asked:
        serve(int(asked[0]), float(asked[1]))
    else:
        main()
