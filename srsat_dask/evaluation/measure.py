"""Degrade, upscale, compare: how far a model's image is from the true one, bicubic beside it.

An image is measured window by window in bounded memory, and the sums are those of the whole
image at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion

from srsat_dask.errors import InputError
from srsat_dask.evaluation.degraded import DegradedScene, filled
from srsat_dask.evaluation.metrics import (
    RADIUS,
    Pixels,
    Place,
    Similarity,
    Sums,
    boxes,
    differences,
    edge_density,
)
from srsat_dask.model.degradation import Degradation
from srsat_dask.model.engines import Upscaler
from srsat_dask.model.inference import bicubic_image, upscale_window
from srsat_dask.mosaic.inputs import ReadableScene
from srsat_dask.mosaic.windows import Window, mirrored, split

Mask = Callable[[Window], Place]
"""Which pixels of a window count, bool (y, x)."""

CELL = 128
"""Side of a cell in pixels, rounded down to a multiple of the scale."""

CELLS = 4
"""Cells along the side of a window."""

BICUBIC_RADIUS = 2
"""LR pixels around one that bicubic upsampling looks at."""


@dataclass(frozen=True)
class Compared:
    """One window of the true image, what the model saw of it, and what it made of that."""

    window: Window
    """The core, in pixels of the true image."""
    original: Pixels
    """True pixels of the core and of a border around it."""
    bicubic: Pixels
    """Bicubic upsampling, same pixels."""
    upscaled: Pixels
    """The model's upsampling, same pixels."""
    counted: Place
    """Pixels that count, same pixels."""
    core: tuple[slice, slice]
    """Where the core lies in the arrays above."""
    low: Pixels
    """Degraded pixels under the core."""
    low_bicubic: Pixels
    """What bicubic upsampling becomes when it is degraded again, without noise; same pixels."""
    low_upscaled: Pixels
    """What the model's upsampling becomes, same pixels."""
    low_counted: Place
    """Degraded pixels that count, and whose kernel meets no missing pixel; same pixels."""


@dataclass(frozen=True)
class Cell:
    """What was summed over a square of an image, or over all of a window."""

    window: Window
    """The square, in pixels of the true image."""
    bicubic: Sums
    """Of bicubic upsampling."""
    model: Sums
    """Of the model's."""
    edges: float
    """Edge density of the true image; see `edge_density`."""


def check_size(scene: ReadableScene, scale: int, halo: int, degradation: Degradation) -> None:
    """Refuse an image that is too small for the model.

    Raises
    ------
    InputError
        The degraded image is empty or smaller than the model's halo.
    """
    if min(DegradedScene(scene, scale, degradation).shape) < halo:
        height, width = scene.shape
        raise InputError(
            f"{scene.name} has {height} × {width} px: degraded by {scale} it is smaller than the"
            f" model's halo of {halo} px; give a larger image"
        )


def windows_of(scene: ReadableScene, scale: int) -> list[Window]:
    """Return the windows that an image is measured by, row by row, in its pixels.

    Rows and columns beyond a multiple of the scale are left out.
    """
    height, width = (side // scale * scale for side in scene.shape)
    return [window for _, window in split((height, width), CELLS * cell_side(scale))]


def cell_side(scale: int) -> int:
    """Return the side of a cell in pixels: of whole LR pixels."""
    return CELL // scale * scale


def compare(
    scene: ReadableScene,
    window: Window,
    upscaler: Upscaler,
    degradation: Degradation,
    counts: Mask | None = None,
) -> Compared | None:
    """Degrade and upscale a window of a scene.

    Parameters
    ----------
    scene : ReadableScene
        The true image; rows and columns beyond a multiple of the scale are left out.
    window : Window
        One of `windows_of`, or any other of whole LR pixels.
    upscaler : Upscaler
        The model, ready to compute.
    degradation : Degradation
        How the scene is made coarser.
    counts : callable, optional
        Which pixels of a window count; by default all. Missing pixels and a border of ``scale``
        pixels never do.

    Returns
    -------
    Compared or None
        None where no pixel counts.
    """
    scale = upscaler.scale
    coarse = DegradedScene(scene, scale, degradation)
    shape = (coarse.shape[0] * scale, coarse.shape[1] * scale)
    # A border of whole LR pixels, so that windows of both resolutions begin together; so wide
    # that SSIM and what is degraded again are those of the whole image.
    border = max(-(-RADIUS // scale) * scale, degradation.margin(scale))
    wide = window.expanded(border).clipped(shape)
    original, valid = scene.read(wide)
    original = original * valid  # what lies under nodata is nobody's business
    counted = valid & _inside(wide, shape, scale)
    if counts is not None:
        counted &= counts(wide)
    core = (
        slice(window.y0 - wide.y0, window.y1 - wide.y0),
        slice(window.x0 - wide.x0, window.x1 - wide.x0),
    )
    if not counted[core].any():
        return None
    low_window = wide.coarsened(scale)
    low, low_valid, bicubic, upscaled = _upscaled(coarse, low_window, upscaler)
    counted &= low_valid.repeat(scale, axis=0).repeat(scale, axis=1)
    if not counted[core].any():
        return None
    again = replace(degradation, noise=0.0)
    at = tuple(slice(part.start // scale, part.stop // scale) for part in core)
    return Compared(
        window,
        np.ascontiguousarray(original.transpose(1, 2, 0)),
        bicubic,
        upscaled,
        counted,
        core,
        low[at],
        again.apply(bicubic, scale)[at],
        again.apply(upscaled, scale)[at],
        _low_counted(counted, low_valid, scale, degradation.margin(scale) // scale)[at],
    )


def measure(compared: Compared, cell: int | None = None) -> list[Cell]:
    """Sum the differences of a window, by cells or as a whole.

    Parameters
    ----------
    compared : Compared
        The window.
    cell : int, optional
        Side of a cell in pixels, a multiple of the scale; by default the window is one.

    Returns
    -------
    list of Cell
        Those in which a pixel counts, row by row.
    """
    height, width = compared.window.shape
    similarities = _similarities(compared)
    cells = []
    for _, part in split((height, width), cell or max(height, width)):
        sums = [
            _sums(compared, other, low, similarity, part)
            for other, low, similarity in zip(
                (compared.bicubic, compared.upscaled),
                (compared.low_bicubic, compared.low_upscaled),
                similarities,
                strict=True,
            )
        ]
        if sums[0].pixels:
            at = _moved(part, compared.core[0].start, compared.core[1].start).slices
            edges = edge_density(compared.original[at], compared.counted[at])
            window = _moved(part, compared.window.y0, compared.window.x0)
            cells.append(Cell(window, sums[0], sums[1], edges))
    return cells


def _upscaled(
    coarse: DegradedScene, window: Window, upscaler: Upscaler
) -> tuple[Pixels, Place, Pixels, Pixels]:
    """Return a degraded window, its mask, and its bicubic and the model's upsampling."""
    margin = 2 * upscaler.halo
    reach = 2 * BICUBIC_RADIUS
    wide = window.expanded(max(margin, reach)).clipped(coarse.shape)
    image, valid = coarse.read(wide)
    rows = mirrored(window.y0 - margin, window.y1 + margin, coarse.shape[0]) - wide.y0
    columns = mirrored(window.x0 - margin, window.x1 + margin, coarse.shape[1]) - wide.x0
    around = np.ix_(rows, columns)
    upscaled, _ = upscale_window(image[:, around[0], around[1]], valid[around], upscaler)

    # Clipped, not mirrored: at the edge Pillow's bicubic drops the taps that fall outside.
    near = window.expanded(reach).clipped(coarse.shape)
    part = _moved(near, -wide.y0, -wide.x0).slices
    pixels, there = image[:, *part].transpose(1, 2, 0), valid[part]
    if not there.all():
        # As the model's input is: beside a hole, bicubic is not judged by what fills it.
        pixels = filled(pixels, there, BICUBIC_RADIUS)
    finer = bicubic_image(pixels, coarse.scale)
    fine = _moved(window, -near.y0, -near.x0).scaled(coarse.scale).slices
    inner = _moved(window, -wide.y0, -wide.x0).slices
    return (
        image[:, *inner].transpose(1, 2, 0),
        valid[inner],
        np.ascontiguousarray(finer[fine]),
        np.ascontiguousarray(upscaled.transpose(1, 2, 0)),
    )


def _low_counted(counted: Place, low_valid: Place, scale: int, reach: int) -> Place:
    rows, columns = low_valid.shape
    whole: Place = np.asarray(counted.reshape(rows, scale, columns, scale).all(axis=(1, 3)))
    if low_valid.all() or not reach:
        return whole
    side = 2 * reach + 1
    whole &= binary_erosion(low_valid, np.ones((side, side), bool), border_value=1)
    return whole


def _similarities(compared: Compared) -> list[npt.NDArray[np.float32] | None]:
    """Return the SSIM of bicubic's and the model's pixels; None for an image too small for it."""
    if min(compared.original.shape[:2]) <= 2 * RADIUS:
        return [None, None]
    similarity = Similarity(compared.original)
    side = 2 * RADIUS + 1
    whole = boxes(compared.counted[..., None].astype(np.int32))[..., 0] == side**2
    # NaN where the window of a pixel is not whole.
    return [
        np.where(whole, similarity.map(other), np.float32(np.nan))
        for other in (compared.bicubic, compared.upscaled)
    ]


def _sums(
    compared: Compared,
    other: Pixels,
    low: Pixels,
    similarity: npt.NDArray[np.float32] | None,
    part: Window,
) -> Sums:
    """Sum over a part of the core, given in its pixels."""
    fine = _moved(part, compared.core[0].start, compared.core[1].start)
    at = fine.slices
    squares, luma_squares, pixels = differences(
        compared.original[at], other[at], compared.counted[at]
    )
    scale = compared.window.shape[0] // compared.low.shape[0]
    under = part.coarsened(scale).slices
    low_squares, _, low_pixels = differences(
        compared.low[under], low[under], compared.low_counted[under]
    )
    if similarity is None:
        return Sums(squares, luma_squares, pixels, 0.0, 0, low_squares, low_pixels)
    inside = _moved(fine, -RADIUS, -RADIUS).clipped(similarity.shape)
    values = similarity[inside.slices]
    values = values[~np.isnan(values)]
    ssim = float(values.sum(dtype=np.float64))
    return Sums(squares, luma_squares, pixels, ssim, values.size, low_squares, low_pixels)


def _moved(window: Window, rows: int, columns: int) -> Window:
    return Window(window.y0 + rows, window.y1 + rows, window.x0 + columns, window.x1 + columns)


def _inside(window: Window, shape: tuple[int, int], border: int) -> Place:
    rows = np.arange(window.y0, window.y1)
    columns = np.arange(window.x0, window.x1)
    in_rows = (rows >= border) & (rows < shape[0] - border)
    in_columns = (columns >= border) & (columns < shape[1] - border)
    return np.logical_and(in_rows[:, None], in_columns)
