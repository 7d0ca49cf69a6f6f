"""The whole pipeline, end to end, against the sandbox on this machine."""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from srsat_dask.errors import InputError
from srsat_dask.evaluation.report import Evaluation, evaluate
from srsat_dask.harvesting.run import TileFailed, harvest, search
from srsat_dask.harvesting.scene import Scene, draw
from srsat_dask.harvesting.tellus import TOKEN, URL, TellusSource
from srsat_dask.mosaic.store import open_store, scenes_of
from srsat_dask.products.cog import export
from srsat_dask.runtime.clusters import Profile, connect, reported
from srsat_dask.sandbox import Sandbox, landscape_scenes, open_scenes
from srsat_dask.sandbox.raster import RasterScene
from srsat_dask.training import train
from srsat_dask.upscaling.store import upscale_store

ZOOM = 17
"""Zoom of the landscape's tiles."""

LANDSCAPE_SCENES = 8
"""Scenes of the landscape to search in."""

LANDSCAPE_SIDE = 1200.0
"""Side of a scene of the landscape in metres."""

MARKER = ".srsat-demo"
"""File that says that a folder's products are the demo's, to be replaced by the next one."""

DRAWN = 2
"""Scenes drawn from what the search finds."""


def run_demo(
    output: str | Path,
    *,
    scenes: Sequence[str | Path] = (),
    scale: int = 4,
    train_minutes: float = 2.0,
    cluster: Profile = "local",
    report: str | Path | None = None,
) -> list[TileFailed]:
    """Search, harvest, train, evaluate, upscale and export; products of an earlier demo go.

    Parameters
    ----------
    output : str or Path
        Folder for ``mosaic.zarr``, ``model.keras``, ``sr.zarr``, ``sr.tif``, ``comparison.png``
        and ``report.json``.
    scenes : sequence of str or Path
        GeoTIFFs to serve in place of the procedural landscape.
    scale : {2, 3, 4}
        Output pixels per input pixel.
    train_minutes : float
        How long to train.
    cluster : str or Path
        Cluster profile.
    report : str or Path, optional
        Write Dask's performance report of it all to this file (HTML).

    Returns
    -------
    list of TileFailed
        The tiles that could not be harvested; what was made of the others is complete.

    Raises
    ------
    InputError
        The folder holds files with the products' names that no demo made, or ``scenes`` lie
        among the products.
    """
    if not train_minutes > 0:
        raise InputError(f"--train-minutes {train_minutes} must be more than 0")
    folder = Path(output)
    products = _Products(folder)
    products.check(scenes)
    providers = (
        open_scenes(scenes) if scenes else landscape_scenes(LANDSCAPE_SCENES, size_m=LANDSCAPE_SIDE)
    )
    _, deepest = TellusSource().zooms
    zooms = {
        provider.entity_id: min(provider.native_zoom, deepest)
        for provider in providers
        if isinstance(provider, RasterScene)
    }
    products.clear()
    failures: list[TileFailed] = []
    clock = _Clock()
    token = secrets.token_urlsafe(16)
    with Sandbox(providers, token=token) as sandbox, _environment({URL: sandbox.url, TOKEN: token}):
        with connect(cluster) as client, reported(report):
            _say(f"sandbox {sandbox.url}, dashboard {client.dashboard_link}")
            with clock.time("search"):
                found = _search(zooms, [provider.bounds for provider in providers])
            with clock.time("harvest"):
                for scene in found:
                    harvested = harvest([scene], products.mosaic, zoom=zooms.get(scene.id, ZOOM))
                    failures += harvested.failures
            with clock.time("train"):
                model = train(
                    products.mosaic, scale=scale, minutes=train_minutes, model_path=products.model
                )
            with clock.time("evaluate"):
                quality = evaluate(products.mosaic, products.model, figure=products.comparison)
            with clock.time("upscale"):
                made = upscale_store(
                    products.mosaic, products.upscaled, model, allow_partial=bool(failures)
                )
        with clock.time("export"):
            shown = scenes_of(products.upscaled)[0]  # the one that comparison.png shows
            export(f"{products.upscaled}/{shown.name}", products.raster)
    products.report.write_text(
        json.dumps({**quality.as_dict(), "timings": clock.seconds}, indent=2) + "\n"
    )
    _close(quality, clock, made.pixels, products)
    return failures


class _Products:
    """Paths of what the demo makes in its folder."""

    def __init__(self, folder: Path) -> None:
        self.mosaic = folder / "mosaic.zarr"
        self.model = folder / "model.keras"
        self.history = folder / "model.history.json"
        self.log = folder / "model.history.csv"
        # Of a demo that was interrupted: the next one starts over.
        self.checkpoint = folder / "model.checkpoint"
        self.curve = folder / "model.curve.png"
        self.upscaled = folder / "sr.zarr"
        self.raster = folder / "sr.tif"
        self.comparison = folder / "comparison.png"
        self.report = folder / "report.json"

    def check(self, scenes: Sequence[str | Path]) -> None:
        """Refuse a folder whose files no demo made, and scenes that clearing would remove."""
        paths: list[Path] = list(vars(self).values())
        folder = self.mosaic.parent
        if not (folder / MARKER).exists():
            found = [path.name for path in paths if os.path.lexists(path)]
            if found:
                raise InputError(
                    f"{folder} holds {', '.join(found)}, which no demo made: give another --output"
                )
        for scene in scenes:
            if any(Path(scene).resolve().is_relative_to(path.resolve()) for path in paths):
                raise InputError(
                    f"{scene} lies among the products of the demo, which it would replace:"
                    " give another --output"
                )

    def clear(self) -> None:
        """Make and mark the folder, and remove an earlier demo's products."""
        folder = self.mosaic.parent
        folder.mkdir(parents=True, exist_ok=True)
        stores = (self.mosaic, self.upscaled)
        for store in stores:
            if store.exists():
                open_store(store)
        (folder / MARKER).write_text("made by 'srsat demo', which replaces its products here\n")
        for path in vars(self).values():
            if path in stores and path.exists():
                shutil.rmtree(path)
            elif path not in stores:
                path.unlink(missing_ok=True)


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time a stage and say its name."""
        _say(f"· {stage}")
        start = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - start, 2)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    # Workers inherit the environment when they start: so a token reaches them, and no graph.
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _search(
    zooms: dict[str, int], boxes: Sequence[tuple[float, float, float, float]]
) -> list[Scene]:
    wests, souths, easts, norths = zip(*boxes, strict=True)
    found = search((min(wests), min(souths), max(easts), max(norths)))
    return found if zooms else draw(found, DRAWN)


def _close(report: Evaluation, clock: _Clock, pixels: int, products: _Products) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)  # no terminal to fit: cut nothing
    console.print(report.table())
    table = Table(title="what the demo did")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, seconds in clock.seconds.items():
        table.add_row(stage, f"{seconds:.1f}")
    table.add_row("all", f"{sum(clock.seconds.values()):.1f}")
    console.print(table)
    _say(f"{pixels / 1e6:.1f} Mpx super-resolved")
    for path in vars(products).values():
        _say(f"  {path}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
