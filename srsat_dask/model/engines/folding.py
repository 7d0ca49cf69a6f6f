"""Bicubic upsampling folded into the convolution that follows it, in NumPy.

Upsampling by a whole number is a *transposed* convolution of the LR image: each LR pixel spreads a
fixed kernel over the HR pixels around it. A convolution after it is linear too, so both together
are one transposed convolution, whose kernel is the one convolved with the other. For ×4 and 9×9
that is 24×24 with stride 4: each HR pixel takes 6×6 multiplications in place of 9×9, and no HR
image is made before the first activation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srsat_dask.model.bicubic import TAPS, phase_taps


@dataclass(frozen=True)
class FoldedKernel:
    """A transposed convolution: HR pixel ``scale * i + first + t`` takes LR pixel i times tap t."""

    first: int
    """HR pixels from the first one of an LR pixel to the first that it spreads to, on each axis."""

    weights: NDArray[np.float32]
    """(taps, taps, in, out)."""


def fold(kernel: NDArray[np.float32], scale: int) -> FoldedKernel:
    """Fold upsampling into a convolution.

    Parameters
    ----------
    kernel : float32 (k, k, in, out)
        Of a convolution of the upsampled image, centred.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    FoldedKernel
        Away from the edges of the image it gives what upsampling and convolution give, to the
        rounding of float32.
    """
    first, spread = _spread(scale)
    size = len(kernel)
    # Row t of the matrix holds what each tap of the convolution adds to tap t: the convolution
    # looks back from an HR pixel, the transposed one forward to it, so its kernel is reversed.
    axis = np.zeros((len(spread) + size - 1, size))
    for tap in range(size):
        axis[size - 1 - tap : size - 1 - tap + len(spread), tap] = spread
    exact = kernel.astype(np.float64)
    weights = np.einsum("ay,yxio,bx->abio", axis, exact, axis, optimize=True)
    return FoldedKernel(first - size // 2, weights.astype(np.float32))


def folding_pays(kernel: int, scale: int) -> bool:
    """Whether folding a kernel of this width takes fewer multiplications than it replaces.

    Parameters
    ----------
    kernel : int
        Width of the first convolution, in HR pixels.
    scale : int
        HR pixels per LR pixel.
    """
    taps = len(_spread(scale)[1]) + kernel - 1
    return -(-taps // scale) < kernel


def _spread(scale: int) -> tuple[int, NDArray[np.float64]]:
    # What one LR pixel adds to the HR pixels around its own, along one axis.
    first, weights = phase_taps(scale)
    reach = scale * TAPS
    spread = np.zeros(2 * reach)
    for phase in range(scale):
        for tap in range(TAPS):
            # HR pixel `phase` takes the LR pixel `first + tap` away: seen from there, it lies at
            spread[reach + phase - scale * (int(first[phase]) + tap)] = weights[phase, tap]
    # At scale 3 an HR centre falls on an LR centre, and outer taps weigh nothing.
    used = np.flatnonzero(spread)
    return int(used[0]) - reach, spread[used[0] : used[-1] + 1]
