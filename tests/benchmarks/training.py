"""How fast training learns, against its own step without a feed and the article's; prints a table.

    python tests/benchmarks/training.py [--seconds 20] [--minutes 3] [INPUT...]

Each figure is of a process of its own, and every ratio of one run. "Pixels learned" are pixels of
targets that a step was done on. The article's loop is Keras' ``fit`` on a ``Sequence`` of whole
256 px tiles in batches of 32, each degraded when it is fetched, through SRCNN with *same*
convolutions.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from srsat_dask.training.patches import Patches

IMAGERY = Path(__file__).resolve().parents[3] / "shared" / "imagery"

TILE, BATCH = 256, 32


def real_feed(inputs: list[str], seconds: float) -> dict[str, float]:
    """Learn from the feed, then from its first batch again and again; patches a second."""
    from srsat_dask.model.network import SRCNN
    from srsat_dask.mosaic.inputs import is_image_folder, open_folder, open_inputs
    from srsat_dask.mosaic.split import Part, split_scene
    from srsat_dask.runtime.clusters import connect
    from srsat_dask.training import objective
    from srsat_dask.training.feed import shard_sources, training_batches
    from srsat_dask.training.patches import PatchShape
    from srsat_dask.training.presets import PRESETS

    preset = PRESETS["default"]
    model = SRCNN(4)
    shape = PatchShape(4, preset.patch(4), model.spec.halo)
    scenes = [
        scene
        for path in inputs
        for scene in (
            open_folder(path) if is_image_folder(path) else open_inputs(path, georeferenced=False)
        )
    ]
    sources = shard_sources([(scene, split_scene(scene)) for scene in scenes], Part.TRAINING)
    trainer = objective.training_model(model, preset)

    def patches_per_second(fetch: Callable[[], Patches], lasting: float) -> float:
        start, steps = time.monotonic(), 0
        while time.monotonic() - start < lasting:
            lr, hr, weight = objective.as_batch(fetch())
            trainer.train_on_batch(lr, hr, sample_weight=weight)
            steps += 1
        return preset.batch * steps / (time.monotonic() - start)

    with connect("local") as client:
        with closing(training_batches(client, sources, shape, preset.batch, 0)) as feed:
            cached = next(feed)
        patches_per_second(lambda: cached, 3)  # compile, and let the cancelled tasks end
        # Before and after, for the machine may have other work; no task runs meanwhile.
        before = patches_per_second(lambda: cached, seconds / 2)
        with closing(training_batches(client, sources, shape, preset.batch, 1)) as feed:
            next(feed)
            fed = patches_per_second(lambda: next(feed), seconds)
        after = patches_per_second(lambda: cached, seconds / 2)
    return {"feed": fed, "cached": (before + after) / 2}


def default_pixels(inputs: list[str], seconds: float) -> dict[str, float]:
    """Train as ``srsat train`` does; megapixels learned a second, validation included."""
    timing = _train(inputs, seconds / 60)["timing"]
    return {"megapixels": timing["megapixels_per_second"]}


def article_pixels(inputs: list[str], seconds: float) -> dict[str, float]:
    """Train as the article does; megapixels learned a second."""
    import keras
    from PIL import Image

    tiles = _tiles(inputs)

    def drop_resolution(tile: np.ndarray) -> np.ndarray:
        image = keras.utils.array_to_img(tile)
        small = image.resize((TILE // 4, TILE // 4), Image.Resampling.BICUBIC)
        return keras.utils.img_to_array(small.resize((TILE, TILE), Image.Resampling.BICUBIC))

    class Tiles(keras.utils.Sequence):
        def __len__(self) -> int:
            return 187

        def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = np.arange(place * BATCH, (place + 1) * BATCH) % len(tiles)
            targets = [
                keras.utils.img_to_array(Image.open(tiles[n]).convert("RGB")) for n in chosen
            ]
            degraded = [drop_resolution(target) for target in targets]
            return np.stack(degraded) / 255, np.stack(targets) / 255

    class Until(keras.callbacks.Callback):
        def on_train_begin(self, logs: object = None) -> None:
            self.start, self.steps = None, 0

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if self.start is None:  # the first batch compiles
                self.start = time.monotonic()
                return
            self.steps += 1
            self.spent = time.monotonic() - self.start
            if self.spent >= seconds:
                self.model.stop_training = True

    layers = [
        keras.layers.Conv2D(64, 9, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 1, padding="same", activation="relu"),
        keras.layers.Conv2D(3, 5, padding="same"),
    ]
    model = keras.Sequential([keras.Input((TILE, TILE, 3)), *layers])
    model.compile(optimizer="adam", loss="mse")
    until = Until()
    # Between two epochs only does Keras look at stop_training: one step each.
    model.fit(Tiles(), epochs=1000, steps_per_epoch=1, callbacks=[until], verbose=0)
    return {"megapixels": until.steps * BATCH * TILE**2 / until.spent / 1e6}


def time_to_gain(inputs: list[str], minutes: float) -> dict[str, float]:
    """Train; seconds until validation is half a decibel over bicubic, NaN if it never was."""
    history = _train(inputs, minutes, steps_per_epoch=100)
    goal = history["bicubic_val_psnr"] + 0.5
    reached = [e["seconds"] for e in history["epochs"] if e["val_psnr"] >= goal]
    best = history["best_val_psnr"] - history["bicubic_val_psnr"]
    return {"seconds": min(reached, default=float("nan")), "best": best}


def _train(inputs: list[str], minutes: float, **settings: object) -> dict:
    from srsat_dask.runtime.clusters import connect
    from srsat_dask.training import train

    with tempfile.TemporaryDirectory() as folder, connect("local"):
        model = Path(folder) / "model.keras"
        train(inputs, minutes=minutes, settings=settings, model_path=model, progress=False)
        return json.loads(model.with_suffix(".history.json").read_text())


def _tiles(inputs: list[str]) -> list[Path]:
    found = [tile for path in inputs for tile in sorted(Path(path).rglob("*.png"))]
    from PIL import Image

    return [tile for tile in found if Image.open(tile).size == (TILE, TILE)]


def alone(work: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run a measurement in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="*", default=[str(IMAGERY / "ucmerced")])
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=3, help="of the training to +0.5 dB")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    feed = alone(real_feed, options.inputs, options.seconds)
    ours = alone(default_pixels, options.inputs, options.seconds)
    article = alone(article_pixels, options.inputs, options.seconds)
    gain = alone(time_to_gain, options.inputs, options.minutes)
    table = Table(title=f"training ×4, 9-1-5, {os.cpu_count()} cores, {options.seconds:g} s each")
    for column in ("what", "ours", "against", "ratio", "asked"):
        table.add_column(column, justify="left" if column in ("what", "against") else "right")
    table.add_row(
        "patches/s from the feed, against one cached batch",
        f"{feed['feed']:.1f}",
        f"{feed['cached']:.1f}",
        f"{feed['feed'] / feed['cached']:.3f}",
        "≥ 0.95",
    )
    table.add_row(
        "Mpx learned/s, against the article's generator and loop",
        f"{ours['megapixels']:.3f}",
        f"{article['megapixels']:.3f}",
        f"{ours['megapixels'] / article['megapixels']:.2f}",
        "≥ 1.5",
    )
    table.add_row(
        "seconds to bicubic + 0.5 dB on validation blocks",
        f"{gain['seconds']:.0f}",
        f"{gain['best']:+.2f} dB in {options.minutes:g} min",
        "",
        "",
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
