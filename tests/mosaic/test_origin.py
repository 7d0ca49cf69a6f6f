"""What a scene passes on to what is made of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from srsat_dask.mosaic.inputs import MosaicScene, RasterScene
from srsat_dask.mosaic.origin import carried_attributes


def test_scene_of_a_mosaic_passes_on_what_it_shows(make_scene: Callable[..., MosaicScene]) -> None:
    """Title, date, clouds and credit; nothing of what it was made from."""
    scene = make_scene()
    assert carried_attributes(scene) == {}
    known = {
        "title": "Town",
        "datetime": "2015-06-01T00:00:00Z",
        "cloud_cover": 3.5,
        "attribution": "Them",
    }
    scene.group("r+").attrs.update({**known, "srsat_input": "there"})
    assert carried_attributes(scene) == known


@pytest.mark.parametrize(
    ("tags", "credit"),
    [
        ({}, {}),
        ({"TIFFTAG_COPYRIGHT": "C"}, {"attribution": "C"}),
        ({"TIFFTAG_COPYRIGHT": "C", "credit": "B"}, {"attribution": "B"}),
        ({"credit": "B", "attribution": "A", "title": "T"}, {"attribution": "A"}),
    ],
)
def test_raster_passes_on_whom_to_credit(
    tmp_path: Path, tags: dict[str, str], credit: dict[str, str]
) -> None:
    """By its plainest tag."""
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=3,
        height=16,
        width=16,
        dtype="uint8",
        crs="EPSG:3857",
        transform=Affine(1, 0, 0, 0, -1, 16),
    ) as raster:
        raster.write(np.ones((3, 16, 16), np.uint8))
        raster.update_tags(**tags)
    assert carried_attributes(RasterScene.open(path)) == credit
