"""A finer image lies on the same ground, whatever the affine."""

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from affine import Affine

from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.windows import Window

TRANSFORMS = {
    "north-up": Affine(2.0, 0, 500_000, 0, -2.0, 4_000_000),
    "south-up": Affine(2.0, 0, 500_000, 0, 2.0, 4_000_000),
    "non-square": Affine(0.5, 0, -120.5, 0, -0.25, 38.25),
    "rotated": Affine.translation(500_000, 4_000_000) @ Affine.rotation(17) @ Affine.scale(3, -2),
}


def corners(ground: Georeference) -> list[tuple[float, float]]:
    size = (ground.width, ground.height)
    return [ground.transform @ (size[0] * i, size[1] * j) for i in (0, 1) for j in (0, 1)]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_finer_image_has_the_same_corners(name: str, scale: int) -> None:
    """All four corners agree to 1e-9 relative."""
    ground = Georeference("EPSG:32654", TRANSFORMS[name], 37, 53)
    finer = ground.finer(scale)
    assert (finer.height, finer.width) == (37 * scale, 53 * scale)
    np.testing.assert_allclose(corners(finer), corners(ground), rtol=1e-9)


@pytest.mark.parametrize("name", ["north-up", "south-up", "non-square"])
def test_coordinates_are_pixel_centres_as_rioxarray_reads_them(name: str) -> None:
    """Rioxarray finds the transform back from the coordinates alone."""
    ground = Georeference("EPSG:32654", TRANSFORMS[name], 37, 53)
    image = xr.DataArray(np.zeros((37, 53)), dims=("y", "x"), coords=ground.coordinates())
    assert image.rio.transform().almost_equals(ground.transform, precision=1e-6)


def test_rotated_image_has_no_coordinates() -> None:
    """A rotated raster has no one-dimensional coordinates to give."""
    assert Georeference("EPSG:32654", TRANSFORMS["rotated"], 37, 53).coordinates() == {}


def test_part_lies_at_its_window() -> None:
    """The corner of a part is the corner of its first pixel."""
    ground = Georeference("EPSG:32654", TRANSFORMS["rotated"], 37, 53)
    part = ground.part(Window(5, 15, 7, 10))
    assert part.transform @ (0, 0) == pytest.approx(ground.transform @ (7, 5))
    assert (part.height, part.width) == (10, 3)


def test_bounds_hold_all_corners_of_a_rotated_image() -> None:
    """The box is that of the four corners."""
    ground = Georeference("EPSG:32654", TRANSFORMS["rotated"], 37, 53)
    xs, ys = zip(*corners(ground), strict=True)
    assert ground.bounds == pytest.approx((min(xs), min(ys), max(xs), max(ys)))


def test_geozarr_attributes_follow_the_conventions() -> None:
    """Code, transform, shape and box are there, and both conventions are declared."""
    attributes = Georeference("EPSG:32654", TRANSFORMS["north-up"], 37, 53).geozarr_attributes()
    assert attributes["proj:code"] == "EPSG:32654"
    assert attributes["spatial:transform"] == [2.0, 0.0, 500_000.0, 0.0, -2.0, 4_000_000.0]
    assert attributes["spatial:shape"] == [37, 53]
    assert attributes["spatial:bbox"] == [500_000.0, 3_999_926.0, 500_106.0, 4_000_000.0]
    assert {c["name"] for c in attributes["zarr_conventions"]} == {"proj:", "spatial:"}


def test_crs_without_a_code_is_kept_as_wkt() -> None:
    """A CRS that no authority knows goes in as WKT."""
    crs = "+proj=laea +lat_0=12 +lon_0=34 +ellps=GRS80 +units=m"
    attributes = Georeference(crs, TRANSFORMS["north-up"], 3, 5).geozarr_attributes()
    assert "proj:code" not in attributes
    assert attributes["proj:wkt2"].startswith("PROJCRS")
