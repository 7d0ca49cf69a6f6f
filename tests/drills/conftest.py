"""A server in a process of its own, so that it can be killed, and worker processes likewise."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
import yaml
from rasterio import Affine

ZOOM = 17
PIXEL = 2 * 20037508.342789244 / 256 / 2**ZOOM


class Server:
    """``srsat sandbox`` serving one grid-aligned raster of ``side`` × ``side`` tiles."""

    def __init__(self, folder: Path, side: int, faults: dict[str, Any] | None) -> None:
        self.folder, self.side = folder, side
        self.raster = folder / "area.tif"
        if not self.raster.exists():
            write_area(self.raster, side)
        self._faults = folder / "faults.yaml"
        self._faults.write_text(yaml.safe_dump(faults or {"rules": []}))
        self._with_faults = faults is not None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start, on the port of the last time if there was one."""
        faults = ["--faults", str(self._faults)] if self._with_faults else []
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "srsat_dask.cli",
                "sandbox",
                str(self.raster),
                "--port",
                str(self.port),
                "--token",
                "drill-secret",
                *faults,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"at (http://127\.0\.0\.1:(\d+))", line)
        assert found, line
        self.url, self.port = found[1], int(found[2])

    def kill(self) -> None:
        """End it at once, as a crash would; nothing if it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def log(self) -> dict[str, Any]:
        """Return the request log."""
        return dict(requests.get(f"{self.url}/_sandbox/log", timeout=10).json())

    def tile_counts(self) -> dict[str, int]:
        """Return how often each tile was asked for."""
        return {
            path: entry["count"]
            for path, entry in self.log()["paths"].items()
            if path.endswith(".png")
        }


def write_area(path: Path, side: int) -> None:
    """Write a raster of random texture that lies exactly on tiles of the grid."""
    rng = np.random.default_rng(0)
    pixels = side * 256
    coarse = rng.integers(0, 256, (3, pixels // 8, pixels // 8), dtype=np.uint8)
    corner = Affine(PIXEL, 0, 116_000 * 256 * PIXEL - 20037508.342789244,
                    0, -PIXEL, 20037508.342789244 - 51_000 * 256 * PIXEL)  # fmt: skip
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=pixels, width=pixels, dtype="uint8",
        crs="EPSG:3857", transform=corner, tiled=True, compress="deflate",
    ) as raster:  # fmt: skip
        raster.write(coarse.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test, and point the environment at the last one."""
    started: list[Server] = []

    def start(side: int, faults: dict[str, Any] | None = None, name: str = "server") -> Server:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        started.append(Server(folder, side, faults))
        monkeypatch.setenv("SRSAT_TELLUS_URL", started[-1].url)
        monkeypatch.setenv("SRSAT_TELLUS_TOKEN", "drill-secret")
        return started[-1]

    yield start
    for server in started:
        server.kill()


def srsat(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "srsat_dask.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def status(store: Path) -> dict[str, Any]:
    """Return ``srsat status --json``."""
    done = subprocess.run(
        [sys.executable, "-m", "srsat_dask.cli", "status", str(store), "--json"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))
