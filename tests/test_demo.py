"""The demo does the whole of it, for real."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from PIL import Image

from srsat_dask import cli
from srsat_dask.demo import MARKER, run_demo
from srsat_dask.errors import InputError
from srsat_dask.harvesting.scene import TileError
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.mosaic.ledger import done_shards
from srsat_dask.mosaic.store import scenes_of

PRODUCTS = {
    MARKER,
    "mosaic.zarr",
    "model.keras",
    "model.history.json",
    "model.history.csv",
    "model.curve.png",
    "sr.zarr",
    "sr.tif",
    "comparison.png",
    "report.json",
}


def test_demo_leaves_everything_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of training show every product, an earlier demo's give way, a failed tile is told."""
    (tmp_path / MARKER).write_text("")
    (tmp_path / "report.json").write_text("of an earlier demo")
    (tmp_path / "model.checkpoint").write_text("of a demo that was interrupted")
    zarr.create_group(tmp_path / "sr.zarr", attributes={"srsat": {"format": 1}, "old": True})
    fetch, failed = TellusSource.fetch, []

    def failing(self: TellusSource, scene: str, zoom: int, x: int, y: int) -> object:
        if not failed:
            failed.append((scene, zoom, x, y))
        if failed[0] == (scene, zoom, x, y):
            raise TileError("status 500")
        return fetch(self, scene, zoom, x, y)

    monkeypatch.setattr(TellusSource, "fetch", failing)
    options = ("--scale", "2", "--train-minutes", "0.05", "--cluster", "threads")
    assert cli.main(["demo", "--output", str(tmp_path), *options]) == 1
    ((scene, zoom, x, y),) = failed
    assert capsys.readouterr().err.endswith(f"failed: {scene} {zoom}/{x}/{y}: status 500\n")
    assert {path.name for path in tmp_path.iterdir()} == PRODUCTS
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["scale"] == 2
    assert len(report["images"]) == 2
    assert all(image["held_out_only"] for image in report["images"])
    assert set(report["timings"]) == {
        "search",
        "harvest",
        "train",
        "evaluate",
        "upscale",
        "export",
    }
    assert all(done_shards(scene).all() for scene in scenes_of(tmp_path / "sr.zarr"))
    with Image.open(tmp_path / "comparison.png") as figure:
        assert figure.width > 1000
    assert "old" not in zarr.open_group(tmp_path / "sr.zarr", mode="r").attrs


def test_demo_keeps_out_of_what_is_not_its_own(tmp_path: Path) -> None:
    """A user's store or model of those names is refused and left alone, in any folder."""
    (tmp_path / "model.keras").write_text("a night's training")
    zarr.create_group(tmp_path / "mosaic.zarr", attributes={"precious": True})
    with pytest.raises(InputError, match=r"holds mosaic\.zarr, model\.keras, which no demo made"):
        run_demo(tmp_path)
    (tmp_path / MARKER).write_text("")
    with pytest.raises(InputError, match="not a mosaic of srsat_dask"):
        run_demo(tmp_path)
    assert zarr.open_group(tmp_path / "mosaic.zarr", mode="r").attrs["precious"]
    assert (tmp_path / "model.keras").read_text() == "a night's training"


def test_demo_serves_no_product_of_its_own(tmp_path: Path) -> None:
    """A scene that would be removed before it is read is refused, by whatever name."""
    (tmp_path / MARKER).write_text("")
    (tmp_path / "sr.tif").write_text("of an earlier demo")
    (tmp_path / "link.tif").symlink_to(tmp_path / "sr.tif")
    for name in ("sr.tif", "link.tif"):
        with pytest.raises(InputError, match="lies among the products of the demo"):
            run_demo(tmp_path, scenes=[tmp_path / name])
    assert (tmp_path / "sr.tif").read_text() == "of an earlier demo"


@pytest.mark.drill
@pytest.mark.imagery
@pytest.mark.timeout(1200)
def test_demo_learns_a_real_town(imagery: Path, tmp_path: Path) -> None:
    """Three minutes on two cores end 0.3 dB or more above bicubic; pixels and ground are right."""
    path = imagery / "banepa_z17.tif"
    run_demo(tmp_path, scenes=[path], train_minutes=3)
    mean = json.loads((tmp_path / "report.json").read_text())["mean"]
    history = json.loads((tmp_path / "model.history.json").read_text())
    assert history["best_val_psnr"] >= history["bicubic_val_psnr"] + 0.3
    assert mean["psnr"] > mean["psnr_bicubic"] + 0.3
    (mosaic,) = scenes_of(tmp_path / "mosaic.zarr")
    with rasterio.open(path) as source, rasterio.open(tmp_path / "sr.tif") as finer:
        column, row = (
            round(v) for v in ~mosaic.georeference.transform @ (source.transform @ (0, 0))
        )
        height, width = source.shape
        kept = np.asarray(mosaic.array("image")[:, row : row + height, column : column + width])
        np.testing.assert_array_equal(kept, source.read())
        assert finer.crs == source.crs
        assert finer.shape == tuple(4 * side for side in mosaic.shape)
        mask = finer.dataset_mask() != 0
        assert int(mask.sum()) == 16 * height * width
