"""How fast, how large and how scalable upscaling is; prints tables.

    python tests/benchmarks/upscale.py                       # speed, about six minutes
    python tests/benchmarks/upscale.py memory planning overhead

Speed: ×4, uint8, 9-1-5 with 64-32 filters and random weights, real imagery, all rows in one run,
their repetitions interleaved so that noise hits all alike; medians. CPU seconds, of all processes
that compute, are beside the wall time: other work on the machine hardly shows in them.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import rasterio
import zarr
from distributed import Client, LocalCluster
from PIL import Image
from rich.console import Console
from rich.table import Table

from srsat_dask.model import ModelFile, upsample
from srsat_dask.mosaic.grid import TILE, TileRange
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import StoreScene, create_scene
from srsat_dask.runtime.runner import run_shards
from srsat_dask.upscaling.plan import plan_upscale
from srsat_dask.upscaling.store import run_upscale, upscale_store

SCALE = 4
SIDE = 128
"""LR pixels of a sub-tile of the bare kernels: 512 HR pixels, as the engine takes."""

IMAGERY = Path(__file__).resolve().parents[3] / "shared" / "imagery" / "banepa_z18.tif"

console = Console(width=110)


@dataclass
class Row:
    """A way to upscale, and what was measured of it."""

    label: str
    run: Callable[[], float]
    """Upscales something and returns the Mpx of its output."""
    cpu: Callable[[], float] = time.process_time
    """CPU seconds used so far."""
    wall: list[float] = field(default_factory=list)
    """Mpx per second of each repetition."""
    work: list[float] = field(default_factory=list)
    """Mpx per CPU second of each repetition."""

    def repeat(self) -> None:
        """Run once more and note how long it took."""
        start, cpu = time.perf_counter(), self.cpu()
        pixels = self.run()
        self.wall.append(pixels / (time.perf_counter() - start))
        self.work.append(pixels / (self.cpu() - cpu))


def random_model() -> ModelFile:
    """Return the paper's network with random weights of the usual size."""
    from srsat_dask.model import SRCNN  # not above: the workers import this module too

    model = SRCNN(SCALE)
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.normal(0, np.sqrt(2 / np.prod(a.shape[:-1])), a.shape)
            if a.ndim > 1
            else np.zeros(a.shape)
            for a in model.get_weights()
        ]
    )
    return ModelFile.open(model)


def read_imagery(path: Path, side: int) -> np.ndarray:
    """Return (3, side, side) of a raster, continued by reflection where it is smaller."""
    with rasterio.open(path) as raster:
        image = raster.read((1, 2, 3))
    more = [(0, 0), *((0, max(side - size, 0)) for size in image.shape[1:])]
    return np.pad(image, more, mode="symmetric")[:, :side, :side]


def mosaic(path: Path, image: np.ndarray) -> StoreScene:
    """Write an image (3, y, x) as a mosaic store of one scene."""
    _, height, width = image.shape
    tiles = TileRange(17, 96670, 55058, 96670 - -width // TILE, 55058 - -height // TILE)
    ground = tiles.georeference
    ground = type(ground)(ground.crs, ground.transform, height, width)
    scene = create_scene(path, "scene", georeference=ground, lineage={"kind": "benchmark"})
    for _, window in scene.shards():
        part = image[:, *window.slices]
        write_shard(scene, window, part, np.ones(part.shape[1:], np.uint8))
    return scene


def articles_way(image: np.ndarray, output: Path) -> Callable[[], float]:
    """Return the article's loop: resize tiles, `model.predict`, store; *same* padding."""
    import keras

    network = keras.Sequential(
        [
            keras.layers.Input((256, 256, 3)),
            keras.layers.Conv2D(64, 9, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 1, padding="same", activation="relu"),
            keras.layers.Conv2D(3, 5, padding="same"),
        ]
    )
    strip = np.concatenate([image, image[..., ::-1]], axis=2)[:, :64, :2048].transpose(1, 2, 0)
    array = zarr.create_array(
        output, shape=(256, 8192, 3), chunks=(256, 256, 3), dtype="uint8", overwrite=True
    )

    def run() -> float:
        tiles = [strip[:, x : x + 64] for x in range(0, 2048, 64)]
        resized = [Image.fromarray(tile).resize((256, 256), Image.BICUBIC) for tile in tiles]
        values = network.predict(np.stack(resized) / 255.0, verbose=0)
        pixels = (np.clip(values, 0, 1) * 255).astype(np.uint8)
        for number, tile in enumerate(pixels):
            array[:, 256 * number : 256 * (number + 1)] = tile
        return pixels[..., 0].size / 1e6

    return run


def bare_openvino(
    model: ModelFile, image: np.ndarray, threads: int, *, plain: bool
) -> Callable[[], float]:
    """Return the kernel alone: sub-tiles in memory in, float sub-tiles out, nothing kept."""
    import openvino as ov

    from srsat_dask.model.engines.graph import build_graph

    compiled = ov.Core().compile_model(
        build_graph(model.spec, model.weights(), SIDE, plain=plain),
        "CPU",
        {
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    padded = SIDE + 2 * model.spec.halo
    pieces = [
        np.ascontiguousarray(image[None, :, :padded, x : x + padded]) / np.float32(255)
        for x in range(0, 7 * SIDE, SIDE)
    ]
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def run() -> float:
        count = 48
        for number in range(count):
            request = requests[number % threads]
            if number >= threads:
                request.wait()
            request.get_input_tensor().data[:] = pieces[number % len(pieces)]
            request.start_async()
        for request in requests:
            request.wait()
        return count * (SCALE * SIDE) ** 2 / 1e6

    return run


def pytorch(model: ModelFile, image: np.ndarray, threads: int) -> Callable[[], float]:
    """Return the network in PyTorch, from the upsampled tile on."""
    import torch
    from torch.nn.functional import conv2d

    torch.set_num_threads(threads)
    layers = [
        (torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias.copy()))
        for kernel, bias in model.weights()
    ]
    padded = SIDE + 2 * model.spec.halo
    tile = image[:, :padded, :padded].transpose(1, 2, 0) / np.float32(255)

    def run() -> float:
        pixels = 0
        for _ in range(8):
            values = torch.from_numpy(upsample(tile, SCALE).transpose(2, 0, 1)[None].copy())
            with torch.inference_mode():
                for number, layer in enumerate(layers):
                    values = conv2d(torch.relu(values) if number else values, *layer)
            pixels += values.shape[-1] ** 2
        return pixels / 1e6

    return run


def ours(
    client: Client, model: ModelFile, source: Path, output: Path
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return store to store on a cluster, and the CPU seconds of its workers."""

    def run() -> float:
        shutil.rmtree(output, ignore_errors=True)
        with client.as_current():
            report = upscale_store(source, output, model, engine="openvino", progress=False)
        return report.pixels / 1e6

    return run, lambda: sum(client.run(cpu_seconds).values())


@contextmanager
def cluster(workers: int, threads: int) -> Iterator[Client]:
    """Start worker processes as ``--cluster local`` would."""
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
        ) as local,
        Client(local) as client,
    ):
        yield client


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    times = psutil.Process().cpu_times()
    return times.user + times.system


def peak_megabytes() -> float:
    """Return the largest resident size of this process (Linux)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def speed(options: argparse.Namespace) -> None:
    """Print Mpx/s of every way, and ratios."""
    folder, model = Path(options.folder), random_model()
    image = read_imagery(options.imagery, options.side)
    mosaic(folder / "large.zarr", image)
    mosaic(folder / "small.zarr", image[:, : options.side // 2, : options.side // 2])
    with ExitStack() as stack:
        rows = {
            "a": Row("a  the article's way: Keras predict", articles_way(image, folder / "a.zarr")),
            "b": Row(
                "b  bare OpenVINO, plain, 2 threads", bare_openvino(model, image, 2, plain=True)
            ),
            "b1": Row(
                "b1 bare OpenVINO, plain, 1 thread", bare_openvino(model, image, 1, plain=True)
            ),
            "d": Row(
                "d  bare OpenVINO, folded, 2 threads", bare_openvino(model, image, 2, plain=False)
            ),
            "d1": Row(
                "d1 bare OpenVINO, folded, 1 thread", bare_openvino(model, image, 1, plain=False)
            ),
        }
        if find_spec("torch"):
            rows["c"] = Row("c  PyTorch, 2 threads", pytorch(model, image, 2))
        for key, workers, threads, source in (
            ("e", 1, 2, "large"),
            ("f", 2, 1, "large"),
            ("g", 1, 1, "small"),
        ):
            client = stack.enter_context(cluster(workers, threads))
            run, cpu = ours(client, model, folder / f"{source}.zarr", folder / f"{key}.zarr")
            rows[key] = Row(f"{key}  ours, {workers} worker(s) × {threads} thread(s)", run, cpu)
            ours(client, model, folder / "small.zarr", folder / f"{key}.zarr")[0]()  # imports
        for key in ("a", "b", "b1", "d", "d1"):
            rows[key].run()
        for _ in range(options.rounds):
            for row in rows.values():
                row.repeat()
    table = Table(title=f"×{SCALE}, uint8, {options.rounds} rounds, medians")
    for title in ("case", "Mpx/s", "to a", "to b", "Mpx per CPU s", "to b "):
        table.add_column(title, justify="left" if title == "case" else "right")
    wall = {key: median(row.wall) for key, row in rows.items()}
    work = {key: median(row.work) for key, row in rows.items()}
    for key in sorted(rows):
        table.add_row(
            rows[key].label,
            f"{wall[key]:.2f}",
            f"{wall[key] / wall['a']:.2f} ×",
            f"{wall[key] / wall['b']:.2f} ×",
            f"{work[key]:.2f}",
            f"{work[key] / work['b']:.2f} ×",
        )
    console.print(table)
    own, kernel = wall["f"] / wall["g"] / 2, wall["d"] / wall["d1"] / 2
    console.print(
        f"1 → 2 cores: ours {own:.2f}, the bare folded kernel {kernel:.2f}, ours relative to it"
        f" {own / kernel:.2f}; a round of a or c is 2 Mpx, of b or d 13, of e or f"
        f" {(SCALE * options.side) ** 2 / 1e6:.0f}, of g a quarter of it"
    )


def memory(options: argparse.Namespace) -> None:
    """Print, and plot, the peak memory of a worker against the size of the input."""
    folder, model = Path(options.folder), random_model()
    table = Table(title="peak memory of a worker, ×4, default shard")
    for title in ("input", "output Mpx", "2 workers × 1 thread, MB", "1 worker × 2 threads, MB"):
        table.add_column(title, justify="right")
    peaks: dict[int, list[float]] = {}
    for side in options.sides:
        mosaic(folder / f"{side}.zarr", read_imagery(options.imagery, side))
        for workers, threads in ((2, 1), (1, 2)):
            with cluster(workers, threads) as client:
                ours(client, model, folder / f"{side}.zarr", folder / "out.zarr")[0]()
                peak = max(client.run(peak_megabytes).values())
            peaks.setdefault(side, []).append(peak)
        table.add_row(
            f"{side}²", f"{(SCALE * side) ** 2 / 1e6:.0f}", *(f"{peak:.0f}" for peak in peaks[side])
        )
    console.print(table)
    for column in (0, 1):
        found = [peak[column] for peak in peaks.values()]
        console.print(f"largest to smallest: {max(found) / min(found):.3f}")
    if options.plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(list(peaks), list(peaks.values()), "o-", label=["2 × 1", "1 × 2"])
        axes.set(xlabel="side of the input, px", ylabel="peak of a worker, MB", ylim=(0, None))
        axes.legend(title="workers × threads")
        figure.savefig(options.plot)
        console.print(f"plot: {options.plot}")


def empty_scene(path: Path, height: int, width: int) -> None:
    """Make the template of a scene without a pixel."""
    ground = TileRange(17, 0, 0, 1, 1).georeference
    ground = type(ground)(ground.crs, ground.transform, height, width)
    create_scene(path, "scene", georeference=ground, lineage={"kind": "benchmark"})


def planning(options: argparse.Namespace) -> None:
    """Print time and memory of planning a very large scene, in a process of its own."""
    if options.child:
        from srsat_dask.upscaling.store import _finer

        store, model = options.child
        before, start = peak_megabytes(), time.perf_counter()
        plan = plan_upscale(store, model, "openvino", allow_partial=True)
        part = plan.parts[0]
        finer = _finer(plan, part, f"{store}-finer")
        missing = plan.shards_to_do(part, finer)
        count = sum(1 for index, _ in finer.shards() if missing[index])
        seconds = time.perf_counter() - start
        print(
            f"{count} shards planned in {seconds:.1f} s,"
            f" {before:.0f} MB → {peak_megabytes():.0f} MB"
        )
        return
    folder = Path(options.folder)
    empty_scene(folder / "huge.zarr", 200_000, 200_000)
    (folder / "model.keras").write_bytes(random_model().data)
    command = [sys.executable, __file__, "planning", "--child"]
    done = subprocess.run(
        [*command, str(folder / "huge.zarr"), str(folder / "model.keras")],
        check=True,
        capture_output=True,
        text=True,
    )
    console.print(f"planning 200,000² px: {done.stdout.strip()}")


def nothing(_: Any, number: int) -> int:
    """Do the work of a shard that costs nothing."""
    return number


def overhead(options: argparse.Namespace) -> None:
    """Print what a shard costs beside its pixels, and how that grows with their number."""
    folder, model = Path(options.folder), random_model()
    table = Table(title="overhead per shard, 2 workers × 1 thread")
    for title in ("shards", "runner alone, ms", "empty shards through the store, ms"):
        table.add_column(title, justify="right")
    found = []
    with cluster(2, 1) as client:
        for rows in (1, 10, 100):  # the first of them warms up
            count = 100 * rows
            start = time.perf_counter()
            shards = ((("scene", number, 0), (number,)) for number in range(count))
            assert sum(1 for _ in run_shards(client, nothing, shards, prefix="no-op")) == count
            alone = time.perf_counter() - start
            empty_scene(folder / f"{count}.zarr", 128 * rows, 12_800)
            plan = plan_upscale(
                folder / f"{count}.zarr", model, "openvino", shard=512, allow_partial=True
            )
            start = time.perf_counter()
            with client.as_current():
                report = run_upscale(plan, folder / f"{count}-finer.zarr", progress=False)
            assert report.computed == count
            found.append((count, 1e3 * alone / count, 1e3 * (time.perf_counter() - start) / count))
    for count, alone, stored in found[1:]:
        table.add_row(f"{count}", f"{alone:.2f}", f"{stored:.2f}")
    console.print(table)
    growth = [found[2][column] / found[1][column] for column in (1, 2)]
    console.print(f"from 1,000 to 10,000 shards: {growth[0]:.2f} × and {growth[1]:.2f} × per shard")


PARTS = {"speed": speed, "memory": memory, "planning": planning, "overhead": overhead}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["speed"], help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048, help="input px for ours; ≥ 1026")
    parser.add_argument("--imagery", type=Path, default=IMAGERY)
    parser.add_argument("--sides", type=int, nargs="+", default=[2000, 4000, 8000])
    parser.add_argument("--plot", type=Path, help="where to plot the memory")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as options.folder:
        for part in options.parts:
            PARTS[part](options)
