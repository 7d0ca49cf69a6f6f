"""Where an image lies on the ground: a CRS, an affine transform and a size.

Any affine is carried: north-up, south-up, rotated, non-square pixels. The transform maps pixel
corners, `(column, row)` to CRS coordinates, as GDAL's and rasterio's do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine

from srsat_dask.mosaic.windows import Window

CONVENTIONS = [
    {
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
        "description": "Coordinate reference system information for geospatial data",
    },
    {
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial:",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "description": "Spatial coordinate information",
    },
]
"""The GeoZarr conventions that :meth:`Georeference.geozarr_attributes` follows."""


@dataclass(frozen=True)
class Georeference:
    """CRS, pixel-corner transform and size of an image."""

    crs: str
    """Coordinate reference system as ``EPSG:code`` or WKT."""
    transform: Affine
    """``(column, row)`` of a pixel corner to ``(x, y)`` in the units of the CRS."""
    height: int
    """Rows in pixels."""
    width: int
    """Columns in pixels."""

    @property
    def is_rectilinear(self) -> bool:
        """Whether x depends on the column only and y on the row only (no rotation or shear)."""
        return bool(self.transform.b == 0 and self.transform.d == 0)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest x, smallest y, largest x, largest y over the four corners, in CRS units."""
        corners = [
            self.transform @ corner
            for corner in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))
        ]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def finer(self, scale: int) -> "Georeference":
        """Return the same ground with ``scale`` × ``scale`` pixels in place of each."""
        return Georeference(
            self.crs,
            self.transform @ Affine.scale(1 / scale),
            self.height * scale,
            self.width * scale,
        )

    def part(self, window: Window) -> "Georeference":
        """Return the georeference of a window of the image."""
        height, width = window.shape
        return Georeference(
            self.crs, self.transform @ Affine.translation(window.x0, window.y0), height, width
        )

    def coordinates(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return pixel-centre coordinates ``y`` and ``x`` in CRS units; none when rotated."""
        if not self.is_rectilinear:
            return {}
        t = self.transform
        return {
            "y": (t.f + (np.arange(self.height) + 0.5) * t.e).astype(np.float64),
            "x": (t.c + (np.arange(self.width) + 0.5) * t.a).astype(np.float64),
        }

    def coordinate_attributes(self) -> dict[str, dict[str, str]]:
        """Return the CF attributes of the ``x`` and ``y`` coordinates."""
        crs = pyproj.CRS.from_user_input(self.crs)
        return {
            attributes["axis"].lower(): {**attributes, "long_name": attributes["long_name"]}
            for attributes in crs.cs_to_cf()
            if attributes.get("axis") in {"X", "Y"}
        }

    def spatial_ref_attributes(self) -> dict[str, Any]:
        """Return the CF grid-mapping attributes, with GDAL's ``GeoTransform`` and WKT."""
        attributes: dict[str, Any] = pyproj.CRS.from_user_input(self.crs).to_cf()
        attributes["spatial_ref"] = attributes["crs_wkt"]
        attributes["GeoTransform"] = " ".join(repr(float(v)) for v in self.transform.to_gdal())
        return attributes

    def geozarr_attributes(self) -> dict[str, Any]:
        """Return GeoZarr's ``proj:`` and ``spatial:`` attributes.

        Source: https://github.com/zarr-conventions/geo-proj and
        https://github.com/zarr-conventions/spatial, both version 1.
        """
        crs = pyproj.CRS.from_user_input(self.crs)
        authority = crs.to_authority()
        return {
            "zarr_conventions": CONVENTIONS,
            **({"proj:code": ":".join(authority)} if authority else {"proj:wkt2": crs.to_wkt()}),
            "spatial:dimensions": ["y", "x"],
            "spatial:transform_type": "affine",
            "spatial:transform": [float(v) for v in tuple(self.transform)[:6]],
            "spatial:shape": [self.height, self.width],
            "spatial:bbox": [float(v) for v in self.bounds],
        }
