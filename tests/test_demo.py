"""The demo does the whole of it, for real."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from PIL import Image

from srsat_dask.demo import run_demo
from srsat_dask.errors import StoreError
from srsat_dask.mosaic.ledger import done_shards
from srsat_dask.mosaic.store import scenes_of

PRODUCTS = {
    "mosaic.zarr",
    "model.keras",
    "model.history.json",
    "model.curve.png",
    "sr.zarr",
    "sr.tif",
    "comparison.png",
    "report.json",
}


def test_demo_leaves_everything_it_promises(tmp_path: Path) -> None:
    """A few seconds of training are enough to see every product; an earlier demo's give way."""
    (tmp_path / "report.json").write_text("of an earlier demo")
    zarr.create_group(tmp_path / "sr.zarr", attributes={"srsat": {"format": 1}, "old": True})
    run_demo(tmp_path, scale=2, train_minutes=0.05, cluster="threads")
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
    for store in ("mosaic.zarr", "sr.zarr"):
        assert all(done_shards(scene).all() for scene in scenes_of(tmp_path / store))
    with Image.open(tmp_path / "comparison.png") as figure:
        assert figure.width > 1000
    assert "old" not in zarr.open_group(tmp_path / "sr.zarr", mode="r").attrs


def test_demo_keeps_out_of_what_is_not_its_own(tmp_path: Path) -> None:
    """A folder with somebody else's store of that name is refused and left alone."""
    zarr.create_group(tmp_path / "mosaic.zarr", attributes={"precious": True})
    with pytest.raises(StoreError, match="not a mosaic of srsat_dask"):
        run_demo(tmp_path)
    assert zarr.open_group(tmp_path / "mosaic.zarr", mode="r").attrs["precious"]


@pytest.mark.drill
@pytest.mark.imagery
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
