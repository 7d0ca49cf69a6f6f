"""A scene as a coarser sensor would have seen it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError
from srsat_dask.model.degradation import BICUBIC, Degradation
from srsat_dask.model.nodata import fill_nodata
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.mosaic.inputs import ReadableScene
from srsat_dask.mosaic.windows import Window


@dataclass(frozen=True)
class DegradedScene:
    """A scene degraded, read by windows as any other.

    A window equals the same part of the whole scene degraded at once.
    """

    scene: ReadableScene
    """What is degraded; rows and columns beyond a multiple of the scale are left out."""
    scale: int
    """Pixels of the scene per pixel of this one."""
    degradation: Degradation = BICUBIC
    """How; by default antialiased bicubic."""

    def __post_init__(self) -> None:
        if 0 in self.shape:
            height, width = self.scene.shape
            raise InputError(
                f"{self.scene.name} has {height} × {width} px: too small to degrade by {self.scale}"
            )

    @property
    def name(self) -> str:
        """Name of the scene."""
        return self.scene.name

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.scene.shape
        return height // self.scale, width // self.scale

    @property
    def georeference(self) -> Georeference:
        """Where the degraded scene lies on the ground."""
        ground = self.scene.georeference
        pixel = ground.transform @ ground.transform.scale(self.scale)
        return Georeference(ground.crs, pixel, *self.shape)

    def fingerprint(self) -> str:
        """Return the fingerprint of the scene, with the scale and the degradation."""
        return f"{self.scene.fingerprint()}/{self.scale}/{self.degradation}"

    def read(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the degraded (3, y, x) and where all of a pixel's source pixels are valid."""
        margin = self.degradation.margin(self.scale)
        fine = window.scaled(self.scale)
        height, width = (side * self.scale for side in self.shape)
        # Twice: the kernel reaches one margin, and a missing pixel there is filled from another.
        wide = fine.expanded(2 * margin).clipped((height, width))
        image, valid = self.scene.read(wide)
        pixels = image.transpose(1, 2, 0)
        if not valid.all():
            pixels = filled(pixels, valid, margin)
        origin = (wide.y0 // self.scale, wide.x0 // self.scale)
        coarse = self.degradation.apply(pixels, self.scale, origin)
        y, x = (fine.y0 - wide.y0) // self.scale, (fine.x0 - wide.x0) // self.scale
        rows, columns = window.shape
        blocks = valid.reshape(coarse.shape[0], self.scale, coarse.shape[1], self.scale)
        whole = np.asarray(blocks.all(axis=(1, 3)))
        at = (slice(y, y + rows), slice(x, x + columns))
        return coarse[at].transpose(2, 0, 1), whole[at]


def filled(
    pixels: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], reach: int
) -> npt.NDArray[np.uint8]:
    """Return 8-bit pixels (y, x, bands) grown into missing ones; see `fill_nodata`."""
    grown = fill_nodata(pixels.astype(np.float32), valid, reach)
    return np.clip(np.rint(grown), 0, 255).astype(np.uint8)
