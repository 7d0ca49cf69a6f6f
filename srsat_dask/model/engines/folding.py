"""Bicubic upsampling folded into the convolution that follows it, in NumPy.

Both are linear, so together they are one convolution of the LR image for each *phase*, the place
of an HR pixel in its LR pixel. For ×4 and a 9×9 kernel these are 16 convolutions of 6×6: 36
multiplications in place of 81, and no HR image is made. Measured for 9-1-5 with OpenVINO, 2 cores,
against the unfolded network: 1.25 to 1.4 times the pixels per CPU second at ×4, 1.2 at ×3, 1.05 at
×2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srsat_dask.model.bicubic import TAPS, phase_taps


@dataclass(frozen=True)
class PhaseKernel:
    """The convolution of the LR image that gives one phase of the HR image."""

    y: int
    """First row read, in LR pixels from the one that holds the HR pixel."""

    x: int
    """First column read, likewise."""

    weights: NDArray[np.float32]
    """(rows, columns, in, out)."""


def fold(kernel: NDArray[np.float32], scale: int) -> list[PhaseKernel]:
    """Fold upsampling into a convolution.

    Parameters
    ----------
    kernel : float32 (k, k, in, out)
        Of a convolution of the upsampled image, centred.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    list of PhaseKernel
        ``scale * scale`` of them, phase (0, 0) first, columns fastest. Away from the edges of the
        image they give what upsampling and convolution give, to the rounding of float32.
    """
    axis = [_phase_matrix(len(kernel), scale, phase) for phase in range(scale)]
    exact = kernel.astype(np.float64)
    return [
        PhaseKernel(
            y,
            x,
            np.einsum("yxio,ya,xb->abio", exact, rows, columns).astype(np.float32),
        )
        for y, rows in axis
        for x, columns in axis
    ]


def folding_pays(kernel: int, scale: int) -> bool:
    """Whether folding a kernel of this width takes fewer multiplications than it replaces.

    Parameters
    ----------
    kernel : int
        Width of the first convolution, in HR pixels.
    scale : int
        HR pixels per LR pixel.
    """
    taps: list[int] = [_phase_matrix(kernel, scale, phase)[1].shape[1] for phase in range(scale)]
    return sum(taps) < scale * kernel


def _phase_matrix(kernel: int, scale: int, phase: int) -> tuple[int, NDArray[np.float64]]:
    # One row for each HR pixel under the kernel, one column for each LR pixel that it is made of.
    first, weights = phase_taps(scale)
    radius = kernel // 2
    position = phase + np.arange(-radius, radius + 1)
    starts = position // scale + first[position % scale]
    begin = int(starts.min())
    matrix = np.zeros((kernel, int(starts.max()) + TAPS - begin))
    for row, (start, of) in enumerate(zip(starts - begin, position % scale, strict=True)):
        matrix[row, start : start + TAPS] = weights[of]
    # At scale 3 an HR centre falls on an LR centre, and outer columns may weigh nothing.
    used = np.flatnonzero(matrix.any(axis=0))
    return begin + int(used[0]), matrix[:, used[0] : used[-1] + 1]
