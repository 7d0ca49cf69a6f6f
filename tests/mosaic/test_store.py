"""A mosaic store opens in xarray, knows where it lies and refuses what would spoil it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
import zarr
from affine import Affine

from srsat_dask.errors import StoreError
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.store import (
    create_scene,
    find_scene,
    open_mosaic,
    open_store,
    scenes_of,
    shard_side,
    write_aligned,
)
from srsat_dask.mosaic.windows import Window

GROUND = Georeference("EPSG:3857", Affine(2, 0, 15_000_000, 0, -2, 4_200_000), 1100, 900)
MakeScene = Callable[..., MosaicScene]


def test_plain_xarray_reads_pixels_crs_and_transform(make_scene: MakeScene) -> None:
    """Without our package, xarray finds what was written, and rioxarray where it lies."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 512, 768), dtype=np.uint8)
    scene = make_scene(rows=2, columns=3, image=image)
    tree = xr.open_datatree(
        scene.store, engine="zarr", chunks={}, decode_coords="all", consolidated=False
    )
    found = tree["scene"]["image"]
    assert found.dims == ("band", "y", "x")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found.values, image)
    assert found.rio.crs.to_epsg() == 3857
    assert found.rio.transform().almost_equals(scene.georeference.transform, precision=1e-6)
    assert tree["scene"]["valid"].values.all()
    assert tree["scene"]["tile_state"].values.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_mask_travels_with_the_image(make_scene: MakeScene) -> None:
    """``open_mosaic`` makes the mask a coordinate of the image; both are lazy."""
    valid = np.zeros((512, 512), dtype=bool)
    valid[:300, :200] = True
    scene = make_scene(rows=2, columns=2, valid=valid)
    image = open_mosaic(scene.store)["scene"]["image"]
    assert image.chunks is not None
    np.testing.assert_array_equal(image.coords["valid"].values, valid)


@pytest.mark.parametrize("name", ["north-up", "rotated"])
def test_georeference_survives_the_store(tmp_path: Path, name: str) -> None:
    """Any affine and any CRS come back as they went in."""
    turned = Affine.translation(5e5, 4e6) @ Affine.rotation(17) @ Affine.scale(3, -2)
    ground = {
        "north-up": GROUND,
        "rotated": Georeference("EPSG:32654", turned, 600, 700),
    }[name]
    scene = create_scene(tmp_path / "m.zarr", "a", georeference=ground, lineage={})
    assert scene.georeference == ground


def test_same_lineage_takes_a_scene_up_again(tmp_path: Path) -> None:
    """A second call finds the scene and leaves its pixels alone."""
    make = {"georeference": GROUND, "lineage": {"zoom": 17, "tiles": [1, 2]}, "shard": 512}
    scene = create_scene(tmp_path / "m.zarr", "a", **make)
    write_aligned(scene.array("valid", "r+"), Window(0, 512, 0, 512), np.ones((512, 512), np.uint8))
    again = create_scene(tmp_path / "m.zarr", "a", **make)
    assert again.read(Window(0, 512, 0, 512))[1].all()


def test_other_lineage_is_refused_and_named(tmp_path: Path) -> None:
    """The message says which setting was what and is now what."""
    create_scene(tmp_path / "m.zarr", "a", georeference=GROUND, lineage={"zoom": 17})
    with pytest.raises(StoreError, match="zoom was 17, is now 18"):
        create_scene(tmp_path / "m.zarr", "a", georeference=GROUND, lineage={"zoom": 18})


def test_template_cut_short_is_made_again(tmp_path: Path) -> None:
    """A group whose lineage was never written is no scene, and is replaced."""
    path = tmp_path / "m.zarr"
    create_scene(path, "a", georeference=GROUND, lineage={})
    zarr.open_group(path, mode="r+").create_group("b").create_array("image", shape=(3,), dtype="u1")
    assert [scene.name for scene in scenes_of(path)] == ["a"]
    assert find_scene(path, "b") is None
    create_scene(path, "b", georeference=GROUND, lineage={})
    assert [scene.name for scene in scenes_of(path)] == ["a", "b"]


@pytest.mark.parametrize(
    "window",
    [Window(0, 100, 0, 512), Window(256, 768, 0, 512), Window(0, 512, 512, 899)],
)
def test_write_of_a_part_of_a_shard_is_refused(tmp_path: Path, window: Window) -> None:
    """Half a shard would lose another writer's half."""
    scene = create_scene(tmp_path / "m.zarr", "a", georeference=GROUND, lineage={}, shard=512)
    with pytest.raises(ValueError, match="is not whole shards of 512 px"):
        write_aligned(scene.array("valid", "r+"), window, np.ones(window.shape, np.uint8))


def test_write_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    """Pixels are never broadcast over a shard."""
    scene = create_scene(tmp_path / "m.zarr", "a", georeference=GROUND, lineage={}, shard=512)
    with pytest.raises(ValueError, match="do not fill"):
        write_aligned(scene.array("valid", "r+"), Window(0, 512, 0, 512), np.ones((1, 1), np.uint8))


def test_last_shards_end_at_the_edge(tmp_path: Path) -> None:
    """The ragged last shard is whole, and may be written."""
    scene = create_scene(tmp_path / "m.zarr", "a", georeference=GROUND, lineage={}, shard=512)
    windows = dict(scene.shards())
    last = windows[2, 1]
    assert last == Window(1024, 1100, 512, 900)
    write_aligned(scene.array("valid", "r+"), last, np.ones(last.shape, np.uint8))
    assert scene.read(last)[1].all()


@pytest.mark.parametrize(("scale", "side"), [(1, 2048), (2, 2048), (3, 1536), (4, 2048)])
def test_shards_of_a_finer_store_end_on_input_pixels(scale: int, side: int) -> None:
    """The side is a multiple of the chunk and of the scale."""
    assert shard_side(scale) == side
    assert side % scale == 0


def test_foreign_things_are_refused(tmp_path: Path) -> None:
    """Nothing, another Zarr store, another format and a file each get their own words."""
    with pytest.raises(StoreError, match="no Zarr group at"):
        open_store(tmp_path / "nothing.zarr")
    zarr.create_group(tmp_path / "foreign.zarr")
    with pytest.raises(StoreError, match="not a mosaic of srsat_dask"):
        open_store(tmp_path / "foreign.zarr")
    zarr.create_group(tmp_path / "later.zarr", attributes={"srsat": {"format": 99}})
    with pytest.raises(StoreError, match="format 99, this version reads 1"):
        open_store(tmp_path / "later.zarr")
    (tmp_path / "file.zarr").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        create_scene(tmp_path / "file.zarr", "a", georeference=GROUND, lineage={})
    (tmp_path / "foreign.zarr" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="torn Zarr metadata"):
        open_store(tmp_path / "foreign.zarr")


def test_folder_of_other_things_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with somebody's files in it is refused, and keeps them."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(StoreError, match="no Zarr group"):
        create_scene(tmp_path / "photos", "a", georeference=GROUND, lineage={})
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


def test_lost_array_is_named(make_scene: MakeScene) -> None:
    """A store that somebody tidied up ends in one line, not in a KeyError."""
    scene = make_scene(rows=1, columns=1)
    shutil.rmtree(Path(scene.store, "scene", "tile_state"))
    with pytest.raises(StoreError, match="has no array 'tile_state'"):
        scene.array("tile_state")


def test_what_a_killed_writer_left_is_passed_over(make_scene: MakeScene) -> None:
    """A half-written file of Zarr's in the store is no scene, and nothing to warn of."""
    scene = make_scene(rows=1, columns=1)
    Path(scene.store, "zarr.0123456789abcdef.partial").write_text("{")
    assert [found.name for found in scenes_of(scene.store)] == ["scene"]
