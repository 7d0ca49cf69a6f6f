"""What may be asked for on top: ensemble, consistency, a proof; and what the command says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray
from distributed import Client

from srsat_dask.cli import main
from srsat_dask.errors import InputError
from srsat_dask.model.degradation import BICUBIC, Degradation
from srsat_dask.model.file import ModelFile, save_model
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.ledger import write_shard
from srsat_dask.mosaic.store import open_mosaic, scenes_of
from srsat_dask.mosaic.windows import Window
from srsat_dask.upscaling.lazy import upscale
from srsat_dask.upscaling.plan import plan_upscale
from srsat_dask.upscaling.store import upscale_store
from tests.upscaling.test_dtypes import sentinel, write_raster

MakeModel = Callable[..., Any]
MakeScene = Callable[..., MosaicScene]


@pytest.fixture(scope="module")
def file(make_model: MakeModel) -> ModelFile:
    """Return a ×2 model with random weights."""
    return ModelFile.open(make_model(2, filters=(8, 8)))


@pytest.mark.parametrize("name", ["bicubic", "mtf:0.3"])
def test_consistency_is_the_whole_output_degraded_less_the_input(
    name: str, make_model: MakeModel, make_scene: MakeScene, client: Client, tmp_path: Path
) -> None:
    """The degradation that the model records, over the whole at once, is the oracle; no seams."""
    recorded = {"degradation": Degradation.of(f"{name}+noise:3").record()}
    file = ModelFile.open(make_model(2, filters=(8, 8), metadata=recorded))
    valid = np.ones((512, 512), bool)
    valid[100:110, 200:230] = False
    scene = make_scene(rows=2, columns=2, valid=valid)
    report = upscale_store(
        scene.store,
        tmp_path / "sr.zarr",
        file,
        consistency=True,
        shard=512,
        progress=False,
        seams=4,
    )
    assert report.seams is not None
    assert report.seams.exact
    dataset = open_mosaic(tmp_path / "sr.zarr")["scene"].to_dataset()
    layer = dataset["consistency"]
    image, _ = scene.read(Window(0, 512, 0, 512))
    finer = dataset["image"].values
    again = Degradation.of(name).apply(finer.transpose(1, 2, 0), 2).transpose(2, 0, 1)
    expected = again.astype(int) - image
    there = np.isfinite(layer.values).all(axis=0)
    assert not there[98:112, 198:232].any()
    assert there.mean() > 0.95
    np.testing.assert_array_equal(layer.values[:, there], expected[:, there])
    coarse = open_mosaic(scene.store)["scene"]["image"]
    np.testing.assert_allclose(layer["low_x"], coarse["x"], rtol=1e-12)
    np.testing.assert_allclose(layer["low_y"], coarse["y"], rtol=1e-12)


def test_change_within_reach_of_the_degradation_remakes_the_layer(
    make_scene: MakeScene, file: ModelFile, client: Client, tmp_path: Path
) -> None:
    """With the layer a shard depends on more input than without, and says so."""
    scene = make_scene(rows=2, columns=4)
    plain = plan_upscale(scene.store, file)
    layered = plan_upscale(scene.store, file, consistency=True)
    assert layered.margin == plain.margin + BICUBIC.margin(2) // 2
    settings: dict[str, Any] = {"consistency": True, "shard": 1024, "progress": False}
    upscale_store(scene.store, tmp_path / "sr.zarr", file, **settings)
    changed = Window(0, 512, 512, 1024)
    image, valid = scene.read(changed)
    write_shard(scene, changed, 255 - image, valid.astype(np.uint8))
    upscale_store(scene.store, tmp_path / "sr.zarr", file, **settings)
    upscale_store(scene.store, tmp_path / "fresh.zarr", file, **settings)
    layers = [
        np.asarray(scenes_of(tmp_path / name)[0].array("consistency")[:])
        for name in ("sr.zarr", "fresh.zarr")
    ]
    np.testing.assert_array_equal(*layers)


def test_consistency_of_sixteen_bits_is_refused(file: ModelFile, tmp_path: Path) -> None:
    """The recorded degradation is one of 8 bits."""
    raster = write_raster(tmp_path / "s2.tif", sentinel(40, 40))
    with pytest.raises(InputError, match="is made of uint8, not of uint16"):
        plan_upscale(raster, file, consistency=True)


def test_ensemble_of_a_store_is_that_of_the_lazy_api(
    file: ModelFile, client: Client, tmp_path: Path
) -> None:
    """Recorded, seam-exact, and another result than one look gives."""
    raster = write_raster(tmp_path / "s2.tif", sentinel(280, 300))
    output = tmp_path / "sr.zarr"
    report = upscale_store(raster, output, file, ensemble=True, shard=512, seams=3, progress=False)
    assert report.seams is not None
    assert report.seams.exact
    assert scenes_of(output)[0].lineage["ensemble"] is True
    image = rioxarray.open_rasterio(raster)
    stored = open_mosaic(output)["s2"]["image"].values
    np.testing.assert_array_equal(stored, upscale(image, file, ensemble=True).values)
    assert (stored != upscale(image, file).values).any()


@pytest.fixture
def command(
    file: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Return a caller of ``srsat upscale`` on a Sentinel-2-like raster in threads."""
    save_model(file, tmp_path / "m.keras")
    write_raster(tmp_path / "s2.tif", sentinel(60, 80), alpha="NO")

    def call(output: str, *more: str) -> tuple[int, str]:
        paths = [str(tmp_path / "s2.tif"), str(tmp_path / output)]
        settings = ["--cluster", "threads", "--model", str(tmp_path / "m.keras"), *more]
        code = main(["upscale", *paths, *settings])
        return code, capsys.readouterr().err

    return call


def test_command_takes_range_window_and_bands(
    command: Callable[..., tuple[int, str]], file: ModelFile, tmp_path: Path
) -> None:
    """A window of near infrared, red, green, with a proof, as a GeoTIFF and then again."""
    settings = ("--range", "0", "4000", "--window", "5", "10", "40", "50", "--bands", "4,1,2")
    code, said = command("part.tif", *settings, "--check-seams")
    assert code == 0, said
    assert "black 0 and white 4000" in said
    assert "rows 5 to 44, columns 10 to 59 of 60 × 80 px" in said
    assert "0 of them differ" in said
    whole = upscale(
        rioxarray.open_rasterio(tmp_path / "s2.tif"), file, bands=(4, 1, 2), value_range=(0, 4000)
    )
    made = rioxarray.open_rasterio(tmp_path / "part.tif")
    part = whole.isel(y=slice(10, 90), x=slice(20, 120))
    np.testing.assert_array_equal(made.values, part.values)
    np.testing.assert_allclose(made["x"], part["x"], rtol=1e-12)
    code, said = command("part.tif", *settings)
    assert code == 0
    assert "is done already" in said
    code, said = command("part.tif", "--range", "auto")
    assert code == 2
    assert "belongs to other inputs" in said


def test_dry_run_says_what_it_will_take(
    command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Shards, bytes, halo, memory, and time from a measured speed; nothing is written."""
    code, said = command("sr.zarr", "--dry-run", "--range", "auto", "--ensemble")
    assert code == 0, said
    for word in (
        "in 1 shards of 2048 px",
        "halo 5 px",
        "MB before",
        "Mpx/s on the",
        "for a worker",
    ):
        assert word in said
    assert not (tmp_path / "sr.zarr").exists()


@pytest.mark.parametrize(
    ("output", "more", "said"),
    [
        ("sr.zarr", ["--range", "5"], "give two numbers"),
        ("sr.zarr", ["--range", "a", "b"], "give two numbers"),
        ("sr.zarr", ["--range", "9", "5"], "black must be less than white"),
        ("sr.zarr", ["--window", "0", "0", "0", "5"], "is empty or leaves"),
        ("sr.zarr", ["--bbox", "1", "1", "2", "2"], "touches no pixel"),
        ("sr.zarr", ["--bands", "1,2"], "2 bands will not do"),
        ("sr.zarr", ["--scale", "4"], "made for 2"),
        ("sr.zarr", ["--shard", "700"], "give a multiple of 512"),
        ("sr.zarr", ["--consistency"], "is made of uint8"),
        ("sr.tif", ["--consistency"], "give an OUTPUT.zarr"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_will_not_do(
    output: str,
    more: list[str],
    said: str,
    command: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> None:
    """Exit status 2 and one line; nothing is written."""
    code, error = command(output, *more)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / output).exists()
