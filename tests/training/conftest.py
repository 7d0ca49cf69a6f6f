"""Pictures to train on."""

import warnings

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from tests.conftest import texture


def write_picture(path, image, **options):
    """Write an image of uint8 (bands, y, x) as a GeoTIFF or PNG without a georeference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "PNG" if path.suffix == ".png" else "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": "uint8",
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as raster:
            raster.write(np.ascontiguousarray(image))
    return path


@pytest.fixture
def folder(tmp_path):
    """Write a folder of 24 small PNGs of two classes, and a larger GeoTIFF of five bands."""
    root = tmp_path / "images"
    for n in range(24):
        side = 256 if n % 5 else 250
        write_picture(root / f"{'ab'[n % 2]}/{n:02}.png", texture(side, 256, seed=n))
    larger = np.concatenate([texture(520, 800, seed=99), np.zeros((2, 520, 800), np.uint8)])
    write_picture(root / "larger.tif", larger, photometric="RGB")
    return root
