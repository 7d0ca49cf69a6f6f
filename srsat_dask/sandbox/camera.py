"""Light and sensor: a rectangle of the landscape as a satellite sees it.

Super-resolution has something true to recover in these pictures: crisp edges, repeated structure
and a point spread function much narrower than a house.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from srsat_dask.sandbox.materials import BLOTCHES, COLOURS
from srsat_dask.sandbox.noise import Floats, hash_lattice, value_noise
from srsat_dask.sandbox.scenes import Rgba, pixel_size, to_pixels
from srsat_dask.sandbox.survey import survey

ORIGIN = (139.25, 36.15)
"""Longitude and latitude of ground coordinate (0, 0), in the middle of the box."""

GROUND_SCALE = math.cos(math.radians(ORIGIN[1]))
"""Ground metres in an EPSG:3857 metre; taken as constant, which is true to 1.2 % in the box."""

DIRECT_ZOOM = 15
"""Coarsest zoom sampled directly."""

SUN = (0.62, 0.78)
"""Towards the sun, a little south of south-east: x east, y south; it stands at 45 degrees."""

SHADOW_REACH = 15.0
"""Longest shadow, metres."""

AMBIENT = np.array([0.40, 0.45, 0.54], np.float32)
"""What is left of red, green and blue in the shade: blue sky."""

PSF_SIGMA = 0.55
"""Blur of the optics, pixels."""

NOISE_LEVEL = 1.6
"""Standard deviation of the sensor's noise, grey levels."""

_PSF_REACH = 2

SUPERSAMPLING = 2
"""Samples of the ground a pixel is averaged from, each way."""


def render(zoom: int, left: int, top: int, *, width: int, height: int, seed: int) -> Rgba:
    """Photograph a rectangle of the world.

    Parameters
    ----------
    zoom : int
        Zoom of the pixel grid, 15 or finer.
    left, top : int
        Global pixel coordinates of the north-western pixel at that zoom.
    width, height : int
        Size, pixels.
    seed : int
        Seed of the world.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green, blue. Any other rectangle gives the same values where the two overlap.
    """
    factor = SUPERSAMPLING
    step = pixel_size(zoom) * GROUND_SCALE / factor
    reach = math.ceil(SHADOW_REACH / step / factor) + 1
    x = _samples(left - _PSF_REACH, width + 2 * _PSF_REACH + reach, factor, zoom, 0)
    y = _samples(top - _PSF_REACH, height + 2 * _PSF_REACH + reach, factor, zoom, 1)
    surface = survey(x, y, step, seed)

    rows, columns = ((n + 2 * _PSF_REACH) * factor for n in (height, width))
    lit = _light(surface.height.reshape(len(y), len(x)), step, rows, columns)
    material = surface.material.reshape(len(y), len(x))[:rows, :columns].astype(np.intp)
    shade = BLOTCHES.take(material)
    shade *= _blotches(x[:columns], y[:rows], seed)
    shade += 1
    shade *= surface.shade.reshape(len(y), len(x))[:rows, :columns]
    shaded = np.where(lit == 0, shade, np.float32(0))
    shade *= lit

    picture = np.empty((height, width, 3), np.uint8)
    noise = _sensor_noise(left, top, width, height, seed + zoom)
    for band in range(3):
        fine = shaded * AMBIENT[band]
        fine += shade
        fine *= COLOURS[:, band].take(material)
        coarse = _average(fine, factor)
        for axis in (0, 1):
            coarse = gaussian_filter1d(coarse, PSF_SIGMA, axis, radius=_PSF_REACH)
        sharp = coarse[_PSF_REACH:-_PSF_REACH, _PSF_REACH:-_PSF_REACH]
        picture[..., band] = np.clip(sharp * 0.92 + 10.5 + noise, 0, 255)
    return picture


def ground_metres(lon: float, lat: float) -> tuple[float, float]:
    """Ground coordinates of a place: metres east and south of the origin."""
    x, y = to_pixels(lon, lat, 0)
    east, south = to_pixels(*ORIGIN, 0)
    scale = pixel_size(0) * GROUND_SCALE
    return (x - east) * scale, (y - south) * scale


def _samples(first: int, count: int, factor: int, zoom: int, axis: int) -> Floats:
    """Ground coordinates of the samples of a run of pixels along one axis, metres."""
    origin = to_pixels(*ORIGIN, zoom)[axis]
    index = np.arange(first * factor, (first + count) * factor, dtype=np.float64)
    pixels = (index + 0.5) / factor - origin
    return (pixels * (pixel_size(zoom) * GROUND_SCALE)).astype(np.float32)


def _average(fine: Floats, factor: int) -> Floats:
    """Average each square of ``factor`` by ``factor`` samples."""
    total: Floats = fine[::factor, ::factor].copy()
    for k in range(1, factor * factor):
        total += fine[k // factor :: factor, k % factor :: factor]
    return total * np.float32(1 / factor**2)


def _light(height: Floats, step: float, rows: int, columns: int) -> Floats:
    """Light on the first rows and columns of a grid of heights: 0 in the shade, about 1 in the sun.

    The grid reaches far enough beyond them, towards the sun, for every shadow to be found.
    """
    here = height[:rows, :columns]

    def towards_sun(distance: float) -> Floats:
        row, column = round(distance * SUN[1] / step), round(distance * SUN[0] / step)
        return height[row : row + rows, column : column + columns]

    ridge = np.full(here.shape, -np.inf, np.float32)
    walk = 0.8
    while walk < SHADOW_REACH:
        np.maximum(ridge, towards_sun(walk) - np.float32(walk), out=ridge)
        walk += max(step, 0.15 * walk + 0.6)
    facing = max(1.2, 1.5 * step)
    slope = np.clip((here - towards_sun(facing)) / np.float32(facing), -0.9, 0.9)
    lit: Floats = (1 + np.float32(0.38) * slope) * (ridge < here + 0.4)
    return lit


def _blotches(x: Floats, y: Floats, seed: int) -> Floats:
    """Unevenness of all ground, about -1..1: stains, moisture, growth."""
    fine = value_noise(x, y, 2.3, seed + 51) * np.float32(1.1)
    fine += value_noise(x, y, 11.0, seed + 52) * np.float32(0.7)
    fine += value_noise(x, y, 90.0, seed + 53) * np.float32(0.6)
    return fine - np.float32(1.2)


def _sensor_noise(left: int, top: int, width: int, height: int, seed: int) -> Floats:
    """Noise of the sensor, near Gaussian, the same for a pixel whatever is drawn around it."""
    columns, rows = np.arange(left, left + width)[None, :], np.arange(top, top + height)[:, None]
    mixed = hash_lattice(columns, rows, seed + 61)
    total = np.zeros(mixed.shape, np.float32)
    for shift in (0, 8, 16, 24):
        total += (mixed >> np.uint32(shift)) & np.uint32(255)
    # Four even bytes add up to mean 510, standard deviation 147.8.
    return (total - np.float32(510)) * np.float32(NOISE_LEVEL / 147.8)
