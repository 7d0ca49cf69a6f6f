"""How fast a harvest is, against the article's loop and contextily; prints a table.

    pip install contextily && python tests/benchmarks/harvest.py

One server, in a process of its own, answers from memory (256 px PNGs of a noisy texture, about
100 KB each), so that it is not the server that is measured. All figures are of one run.
"""

import argparse
import asyncio
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import mercantile
import numpy as np
import psutil
import requests
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

ZOOM = 17
CORNER = (116_000, 51_000)
"""Column and row of the first tile, in Japan."""

BODIES = 64


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


def serve(side: int, latency: float) -> None:
    """Serve one scene of ``side`` × ``side`` tiles until standard input closes."""
    tiles = bodies()
    first = mercantile.bounds(*CORNER, ZOOM)
    last = mercantile.bounds(CORNER[0] + side - 1, CORNER[1] + side - 1, ZOOM)
    scene = {
        "entityId": "bench_AS1",
        "min_lon": first.west,
        "max_lat": first.north,
        "max_lon": last.east,
        "min_lat": last.south,
    }

    class Search(RequestHandler):
        def get(self) -> None:
            self.write(json.dumps([scene]))

    class Tile(RequestHandler):
        async def get(self, x: str, y: str) -> None:
            if latency:
                await asyncio.sleep(latency)
            self.set_header("Content-Type", "image/png")
            self.write(tiles[(int(x) * 31 + int(y)) % BODIES])

        def compute_etag(self) -> None:
            """Spend no time on a hash of the body."""

    async def main() -> None:
        server = HTTPServer(
            Application(
                [
                    (r"/api/v1/asnaro1/scene", Search),
                    (r"/ASNARO-1/[^/]+/\d+/(\d+)/(\d+)\.png", Tile),
                ],
                log_function=lambda _: None,
            )
        )
        server.listen(0, "127.0.0.1")
        print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    asyncio.run(main())


@contextmanager
def serving(side: int, latency: float) -> Iterator[str]:
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
        yield url
    finally:
        process.stdin.close()
        process.wait(10)


def article_loop(url: str, count: int) -> float:
    """Fetch tiles one by one, as the article does; return tiles per second."""
    start = time.perf_counter()
    for number in range(count):
        address = f"{url}/ASNARO-1/bench_AS1/{ZOOM}/{CORNER[0] + number}/{CORNER[1]}.png"
        answer = requests.get(address, headers={"Authorization": "Bearer bench"}, timeout=30)
        np.asarray(Image.open(io.BytesIO(answer.content)))
    return count / (time.perf_counter() - start)


def contextily(url: str, side: int) -> float:
    """Fetch the area with contextily; return tiles per second."""
    from contextily import bounds2img

    source = f"{url}/ASNARO-1/bench_AS1/{{z}}/{{x}}/{{y}}.png"
    first = mercantile.xy_bounds(*CORNER, ZOOM)
    last = mercantile.xy_bounds(CORNER[0] + side - 1, CORNER[1] + side - 1, ZOOM)
    box = (first.left + 1, last.bottom + 1, last.right - 1, first.top - 1)
    start = time.perf_counter()
    bounds2img(*box, zoom=ZOOM, source=source, ll=False, n_connections=16, use_cache=False)
    return side**2 / (time.perf_counter() - start)


def ours(side: int, workers: int) -> tuple[float, float, float]:
    """Harvest the area; return tiles/s, CPU milliseconds per tile and a worker's peak MB."""
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
        before = client.run(cpu_seconds)
        start = time.perf_counter()
        report = harvest(scenes, f"{folder}/m.zarr", zoom=ZOOM, rate=math.inf, progress=False)
        seconds = time.perf_counter() - start
        cpu = sum(client.run(cpu_seconds).values()) - sum(before.values())
        peak = max(client.run(peak_megabytes).values())
    shutil.rmtree(folder)
    assert report.states["stored"] == side**2, report
    return side**2 / seconds, 1000 * cpu / side**2, peak


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    times = psutil.Process().cpu_times()
    return times.user + times.system


def peak_megabytes() -> float:
    """Return the largest resident size of this process (Linux)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Run all cases and print the table."""
    table = Table(title="harvest, tiles of 256 px")
    for title in ("case", "tiles", "tiles/s", "ratio", "CPU ms/tile", "worker peak MB"):
        table.add_column(title, justify="left" if title == "case" else "right")

    def row(case: str, tiles: int, speed: float, base: float, *rest: float) -> None:
        table.add_row(
            case, str(tiles), f"{speed:.1f}", f"{speed / base:.1f} ×", *(f"{v:.1f}" for v in rest)
        )

    with serving(32, 0.1) as url:
        base = article_loop(url, 60)
        row("article's loop, 100 ms latency", 60, base, base)
        row("ours, 100 ms, 2 workers", 1024, (found := ours(32, 2))[0], base, *found[1:])
    cases: list[tuple[str, Callable[[str], tuple[float, ...]]]] = []
    if find_spec("contextily"):
        cases.append(("contextily.bounds2img, no latency", lambda url: (contextily(url, 32),)))
    cases += [
        ("ours, no latency, 1 worker", lambda _: ours(32, 1)),
        ("ours, no latency, 2 workers", lambda _: ours(32, 2)),
    ]
    with serving(32, 0) as url:
        base = 0.0
        for case, run in cases:
            found = run(url)
            base = base or found[0]
            row(case, 1024, found[0], base, *found[1:])
    with serving(81, 0):
        found = ours(81, 2)
        row("ours, no latency, 2 workers", 81**2, found[0], base, *found[1:])
    Console(width=110).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=2, metavar=("SIDE", "LATENCY"))
    asked = parser.parse_args().serve
    if asked:
        serve(int(asked[0]), float(asked[1]))
    else:
        main()
