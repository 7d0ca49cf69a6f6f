"""Degrade, upscale, compare: how far a model's image is from the true one, bicubic beside it.

An image is measured window by window in bounded memory, and the sums are those of the whole
image at once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity

from srsat_dask.errors import InputError
from srsat_dask.evaluation.degraded import DegradedScene, filled
from srsat_dask.model.degradation import BICUBIC, Degradation
from srsat_dask.model.engines import Upscaler
from srsat_dask.model.inference import bicubic_image, upscale_window
from srsat_dask.mosaic.inputs import ReadableScene, read_mirrored
from srsat_dask.mosaic.windows import Window, split

Pixels = npt.NDArray[np.uint8]
"""An image, uint8 (y, x, 3)."""

Mask = Callable[[Window], npt.NDArray[np.bool_]]
"""Which pixels of a window count, bool (y, x)."""

SIDE = 512
"""Side of a window in pixels, rounded down to a multiple of the scale."""

SSIM_RADIUS = 3
"""Pixels around one that its SSIM looks at: scikit-image's window of 7 × 7."""

BICUBIC_RADIUS = 2
"""LR pixels around one that bicubic upsampling looks at."""


@dataclass(frozen=True)
class Compared:
    """One window of the true image, what the model saw of it, and what it made of that."""

    window: Window
    """The core, in pixels of the true image."""
    original: Pixels
    """True pixels of the core and of ``border`` around it."""
    bicubic: Pixels
    """Bicubic upsampling, same pixels."""
    upscaled: Pixels
    """The model's upsampling, same pixels."""
    low: Pixels
    """Degraded pixels under the core."""
    counted: npt.NDArray[np.bool_]
    """Pixels that count, same pixels."""
    core: tuple[slice, slice]
    """Where the core lies in the arrays."""

    @property
    def interest(self) -> float:
        """Contrast of the pixels that count, times their number: the best window to show."""
        return float(self.original[self.core][self.counted[self.core]].std()) * float(
            self.counted[self.core].sum()
        )


@dataclass
class Sums:
    """Sums over the pixels that count, of one image against the true one."""

    squares: float = 0.0
    """Squared differences of red, green and blue, on [0, 1]."""
    squares_y: float = 0.0
    """Squared differences of BT.601 luma, on [0, 1]."""
    pixels: int = 0
    """Pixels that count."""
    ssim: float = 0.0
    """SSIM."""
    ssim_pixels: int = 0
    """Pixels whose whole SSIM window counts."""

    def add(
        self,
        original: Pixels,
        other: Pixels,
        counted: npt.NDArray[np.bool_],
        core: tuple[slice, slice],
    ) -> None:
        """Add a window; ``counted`` and the images have a border for SSIM around ``core``."""
        here = np.zeros_like(counted)
        here[core] = counted[core]
        difference = (original.astype(np.float64) - other) / 255
        self.squares += float((difference[here] ** 2).sum())
        luma = (rgb2ycbcr(original)[..., 0] - rgb2ycbcr(other)[..., 0]) / 255
        self.squares_y += float((luma[here] ** 2).sum())
        self.pixels += int(here.sum())
        if min(original.shape[:2]) <= 2 * SSIM_RADIUS:
            return
        side = 2 * SSIM_RADIUS + 1
        whole = binary_erosion(counted, np.ones((side, side))) & here
        _, similarity = structural_similarity(
            original, other, channel_axis=2, data_range=255, full=True
        )
        self.ssim += float(similarity.mean(axis=2)[whole].sum())
        self.ssim_pixels += int(whole.sum())

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio of red, green and blue in dB."""
        return _decibel(self.squares / (3 * self.pixels))

    @property
    def psnr_y(self) -> float:
        """Peak signal-to-noise ratio of BT.601 luma in dB, peak 1 as for RGB."""
        return _decibel(self.squares_y / self.pixels)

    @property
    def mean_ssim(self) -> float:
        """Mean structural similarity; NaN for an image smaller than its window."""
        return self.ssim / self.ssim_pixels if self.ssim_pixels else math.nan


def compare(
    scene: ReadableScene,
    upscaler: Upscaler,
    counts: Mask | None = None,
    degradation: Degradation = BICUBIC,
) -> Iterator[Compared]:
    """Degrade and upscale a scene, window by window.

    Parameters
    ----------
    scene : ReadableScene
        The true image; rows and columns beyond a multiple of the scale are left out.
    upscaler : Upscaler
        The model, ready to compute.
    counts : callable, optional
        Which pixels of a window count; by default all. Missing pixels and a border of ``scale``
        pixels never do.
    degradation : Degradation
        How the scene is made coarser; by default antialiased bicubic.

    Yields
    ------
    Compared
        Only windows in which a pixel counts.

    Raises
    ------
    InputError
        The degraded image is smaller than the model's halo.
    """
    scale = upscaler.scale
    coarse = DegradedScene(scene, scale, degradation)
    if min(coarse.shape) < upscaler.halo:
        height, width = scene.shape
        raise InputError(
            f"{scene.name} has {height} × {width} px: degraded by {scale} it is smaller than the"
            f" model's halo of {upscaler.halo} px; give a larger image"
        )
    height, width = (side * scale for side in coarse.shape)
    # A border of whole LR pixels, so that windows of both resolutions begin together.
    border = -(-SSIM_RADIUS // scale) * scale
    for _, window in split((height, width), SIDE // scale * scale):
        wide = window.expanded(border).clipped((height, width))
        original, valid = scene.read(wide)
        original = original * valid  # SSIM's running sums would carry what lies under nodata
        counted = valid & _inside(wide, (height, width), scale)
        if counts is not None:
            counted &= counts(wide)
        core = (
            slice(window.y0 - wide.y0, window.y1 - wide.y0),
            slice(window.x0 - wide.x0, window.x1 - wide.x0),
        )
        if not counted[core].any():
            continue
        low_window = wide.coarsened(scale)
        margin = 2 * upscaler.halo
        low, low_valid = read_mirrored(coarse, low_window, margin)
        upscaled, seen = upscale_window(low, low_valid, upscaler)
        if seen is not None:
            counted &= seen != 0
            if not counted[core].any():
                continue
        inner = low[:, margin:-margin, margin:-margin].transpose(1, 2, 0)
        yield Compared(
            window,
            original.transpose(1, 2, 0),
            _bicubic(coarse, low_window),
            upscaled.transpose(1, 2, 0),
            inner[tuple(slice(part.start // scale, part.stop // scale) for part in core)],
            counted,
            core,
        )


def _bicubic(coarse: DegradedScene, window: Window) -> Pixels:
    # Clipped, not mirrored: at the edge Pillow's bicubic drops the taps that fall outside.
    wide = window.expanded(2 * BICUBIC_RADIUS).clipped(coarse.shape)
    image, valid = coarse.read(wide)
    pixels = image.transpose(1, 2, 0)
    if not valid.all():
        # As the model's input is: beside a hole, bicubic is not judged by what fills it.
        pixels = filled(pixels, valid, BICUBIC_RADIUS)
    finer = bicubic_image(pixels, coarse.scale)
    y, x = (window.y0 - wide.y0) * coarse.scale, (window.x0 - wide.x0) * coarse.scale
    height, width = window.scaled(coarse.scale).shape
    return finer[y : y + height, x : x + width]


def _inside(window: Window, shape: tuple[int, int], border: int) -> npt.NDArray[np.bool_]:
    rows = np.arange(window.y0, window.y1)
    columns = np.arange(window.x0, window.x1)
    in_rows = (rows >= border) & (rows < shape[0] - border)
    in_columns = (columns >= border) & (columns < shape[1] - border)
    return np.logical_and(in_rows[:, None], in_columns)


def _decibel(mean_square: float) -> float:
    return math.inf if mean_square == 0 else -10 * math.log10(mean_square)
