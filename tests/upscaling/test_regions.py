"""A part of a scene is that part of the whole, bit for bit, on its own ground."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srsat_dask.errors import BoundsError, InputError
from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_image
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.mosaic.store import open_mosaic, scenes_of
from srsat_dask.mosaic.windows import Window, split
from srsat_dask.upscaling.plan import ScenePart, plan_upscale
from srsat_dask.upscaling.recipe import make_recipe
from srsat_dask.upscaling.store import upscale_store

MakeModel = Callable[..., Any]
MakeScene = Callable[..., MosaicScene]


@pytest.fixture(scope="module")
def files(make_model: MakeModel) -> dict[tuple[int, tuple[int, ...]], ModelFile]:
    """Return small models with random weights by scale and kernels."""
    return {
        (scale, kernels): ModelFile.open(
            make_model(scale, kernels=kernels, filters=(6, 4)[: len(kernels) - 1])
        )
        for scale in (2, 3, 4)
        for kernels in ((9, 1, 5), (5, 3))
    }


def test_window_equals_the_same_part_of_the_whole(
    make_scene: MakeScene, files: dict[Any, ModelFile], client: Client, tmp_path: Path
) -> None:
    """The halo comes from outside the part; ground, mask and pixels are those of the whole."""
    valid = np.random.default_rng(0).random((512, 768)) < 0.95
    scene = make_scene(rows=2, columns=3, valid=valid)
    window = Window(37, 401, 250, 767)
    file = files[2, (9, 1, 5)]
    upscale_store(scene.store, tmp_path / "all.zarr", file, progress=False)
    upscale_store(
        scene.store, tmp_path / "part.zarr", file, window=window, shard=512, progress=False
    )
    whole = open_mosaic(tmp_path / "all.zarr")["scene"]["image"]
    part = open_mosaic(tmp_path / "part.zarr")["scene"]["image"]
    same = whole.isel(y=slice(74, 802), x=slice(500, 1534))
    np.testing.assert_array_equal(part.values, same.values)
    np.testing.assert_array_equal(part.coords["valid"].values, same.coords["valid"].values)
    for axis in ("y", "x"):
        np.testing.assert_allclose(part.coords[axis], same.coords[axis], rtol=1e-12)


def test_box_is_snapped_outward_to_whole_pixels(make_scene: MakeScene, files: Any) -> None:
    """Each edge of the box lies within the outermost pixel on its side, or on its border."""
    scene = make_scene(rows=2, columns=2)
    ground = scene.georeference
    to_degrees = pyproj.Transformer.from_crs(ground.crs, "EPSG:4326", always_xy=True)
    west, north = to_degrees.transform(*(ground.transform @ (100.4, 50.7)))
    east, south = to_degrees.transform(*(ground.transform @ (300.0, 200.1)))
    plan = plan_upscale(scene.store, files[2, (5, 3)], bbox=(west, south, east, north))
    assert plan.parts[0].window == Window(50, 201, 100, 300)
    everywhere = plan_upscale(scene.store, files[2, (5, 3)], bbox=(-179.0, -80.0, 179.0, 80.0))
    assert everywhere.parts[0].is_whole


TURNED = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(2, -2)


@pytest.mark.parametrize("transform", [Affine(2, 0, 5e5, 0, -2, 4e6), TURNED], ids=["up", "turned"])
def test_box_holds_every_pixel_whose_centre_lies_in_it(transform: Affine) -> None:
    """An independent oracle: each pixel's centre brought to degrees, one by one."""
    ground = Georeference("EPSG:32654", transform, 60, 80)
    column, row = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    longitude, latitude = pyproj.Transformer.from_crs(
        "EPSG:32654", "EPSG:4326", always_xy=True
    ).transform(x, y)
    box = (
        float(np.quantile(longitude, 0.3)),
        float(np.quantile(latitude, 0.2)),
        float(np.quantile(longitude, 0.6)),
        float(np.quantile(latitude, 0.7)),
    )
    inside = (
        (longitude >= box[0]) & (longitude <= box[2]) & (latitude >= box[1]) & (latitude <= box[3])
    )
    found = ground.window(box)
    assert found is not None
    rows, columns = np.nonzero(inside)
    assert found.y0 <= rows.min()
    assert rows.max() < found.y1
    assert found.x0 <= columns.min()
    assert columns.max() < found.x1
    assert found.shape[0] <= np.ptp(rows) + 4
    assert found.shape[1] <= np.ptp(columns) + 4
    assert ground.window((10.0, 10.0, 11.0, 11.0)) is None


def test_scenes_that_a_box_misses_are_left_out(
    make_scene: MakeScene, files: dict[Any, ModelFile]
) -> None:
    """Of a store with scenes at one place, all are taken; of none, the box is named."""
    scene = make_scene("one", 1, 1)
    make_scene("two", 2, 2)
    ground = scene.georeference
    to_degrees = pyproj.Transformer.from_crs(ground.crs, "EPSG:4326", always_xy=True)
    west, north = to_degrees.transform(*(ground.transform @ (300, 300)))
    east, south = to_degrees.transform(*(ground.transform @ (400, 400)))
    plan = plan_upscale(scene.store, files[2, (5, 3)], bbox=(west, south, east, north))
    assert [part.name for part in plan.parts] == ["two"]
    with pytest.raises(InputError, match="a window is of one scene"):
        plan_upscale(scene.store, files[2, (5, 3)], window=Window(0, 9, 0, 9))
    with pytest.raises(InputError, match="a box and a window"):
        plan_upscale(
            scene.store, files[2, (5, 3)], window=Window(0, 9, 0, 9), bbox=(0.0, 0.0, 1.0, 1.0)
        )
    with pytest.raises(BoundsError, match="W S E N"):
        plan_upscale(scene.store, files[2, (5, 3)], bbox=(1.0, 0.0, 0.0, 1.0))


class Memory:
    """A scene in memory."""

    name = "memory"
    numbers = (1, 2, 3)

    def __init__(self, image: np.ndarray, valid: np.ndarray) -> None:
        self.image, self.valid = image, valid
        self.shape, self.dtype = valid.shape, image.dtype

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self.image[:, *window.slices], self.valid[window.slices]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_part_shard_scale_and_mask_equal_the_whole(
    data: st.DataObject, files: dict[Any, ModelFile]
) -> None:
    """Property: windows of any side cover a part once, and hold what the whole image gives."""
    file = files[data.draw(st.sampled_from(sorted(files)))]
    scale = file.spec.scale
    height, width = data.draw(st.integers(8, 50)), data.draw(st.integers(8, 50))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    valid = rng.random((height, width)) < data.draw(st.sampled_from([0.3, 0.9, 1.0]))
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    part = ScenePart(Memory(image, valid), Window(y0, y1, x0, x1))
    recipe = make_recipe(file, image.dtype, 3, engine="openvino")
    finer = np.zeros((3, scale * (y1 - y0), scale * (x1 - x0)), np.uint8)
    written = np.zeros(finer.shape[1:], int)
    for _, window in split(finer.shape[1:], scale * data.draw(st.integers(3, 30))):
        coarse = window.coarsened(scale)
        assert coarse.scaled(scale) == window
        finer[:, *window.slices], _ = recipe.apply(*part.read(coarse, recipe.margin))
        written[window.slices] += 1
    assert (written == 1).all()
    whole = upscale_image(image.transpose(1, 2, 0), get_upscaler(file, "openvino"), valid)
    same = whole[scale * y0 : scale * y1, scale * x0 : scale * x1].transpose(2, 0, 1)
    np.testing.assert_array_equal(finer, same)


def test_part_of_a_raster_lies_where_it_lies(
    files: dict[Any, ModelFile], client: Client, tmp_path: Path, imagery: Path
) -> None:
    """Real imagery in UTM: the corner of the part is the corner of its pixel."""
    raster = imagery / "naip_sherando_1m.tif"
    window = Window(100, 160, 200, 290)
    upscale_store(raster, tmp_path / "p.zarr", files[3, (5, 3)], window=window, progress=False)
    (finer,) = scenes_of(tmp_path / "p.zarr")
    with rasterio.open(raster) as naip:
        corner = naip.transform @ (200, 100)
    assert finer.shape == (180, 270)
    assert finer.georeference.transform @ (0, 0) == pytest.approx(corner, rel=1e-12)
