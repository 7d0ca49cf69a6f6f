"""Rasters opened without a warning that they lie nowhere: an image to judge by need not."""

import threading
import warnings
from os import PathLike

import rasterio
from rasterio.errors import NotGeoreferencedWarning

_lock = threading.Lock()


def open_raster(path: "str | PathLike[str]") -> rasterio.DatasetReader:
    """Open a raster for reading, as `rasterio.open` does; safe in threads.

    Raises
    ------
    rasterio.errors.RasterioIOError
        GDAL cannot read it.
    """
    # Filters of warnings are the whole process': of two threads that change them at once, one
    # would end the other's silence.
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)
