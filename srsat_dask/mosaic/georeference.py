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

_Values = npt.NDArray[np.float64]

_OUTLINE = 65
"""Points along each edge of a rectangle that is brought into another CRS."""

_BORDER = 1e-6
"""Pixels that an edge may lie beyond a border of pixels by rounding."""


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

    def window(self, box: tuple[float, float, float, float]) -> Window | None:
        """Return the smallest window of whole pixels that holds a box's part of the image.

        Parameters
        ----------
        box : tuple of float
            West, south, east, north in degrees (EPSG:4326); its edges are followed along parallels
            and meridians, which may be curves in the image.

        Returns
        -------
        Window or None
            None where the box touches no pixel. An edge within a millionth of a pixel of a border
            of pixels takes in no pixel beyond it.
        """
        between = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        column, row = _outline(0, 0, self.width, self.height)
        longitude, latitude = between.transform(*_mapped(self.transform, column, row))
        # A box far beyond the image may leave what its CRS can show: cut it down first, to twice
        # the image's own extent.
        spare_x, spare_y = np.ptp(longitude) / 2, np.ptp(latitude) / 2
        west = max(box[0], longitude.min() - spare_x)
        south = max(box[1], latitude.min() - spare_y)
        east = min(box[2], longitude.max() + spare_x)
        north = min(box[3], latitude.max() + spare_y)
        if not (west < east and south < north):
            return None
        x, y = between.transform(*_outline(west, south, east, north), direction="INVERSE")
        column, row = _mapped(~self.transform, x, y)
        found = Window(
            int(np.floor(row.min() + _BORDER)),
            int(np.ceil(row.max() - _BORDER)),
            int(np.floor(column.min() + _BORDER)),
            int(np.ceil(column.max() - _BORDER)),
        ).clipped((self.height, self.width))
        return found if min(found.shape) > 0 else None

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


def _mapped(transform: Affine, x: _Values, y: _Values) -> tuple[_Values, _Values]:
    return transform.a * x + transform.b * y + transform.c, (
        transform.d * x + transform.e * y + transform.f
    )


def _outline(x0: float, y0: float, x1: float, y1: float) -> tuple[_Values, _Values]:
    """Return points along the four edges of a rectangle, corners included."""
    along_x, along_y = np.linspace(x0, x1, _OUTLINE), np.linspace(y0, y1, _OUTLINE)
    still = np.ones(_OUTLINE)
    return (
        np.concatenate([along_x, along_x, x0 * still, x1 * still]),
        np.concatenate([y0 * still, y1 * still, along_y, along_y]),
    )
