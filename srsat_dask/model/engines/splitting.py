"""A convolution with few outputs split into two that keep the processor busy, in NumPy.

A CPU computes eight outputs at a time or more. The last layer has three, so five eighths of its
work is thrown away. Split, a first convolution takes the rows of the kernel and gives the sums of
each column apart, as outputs of their own (5 × 3 = 15, padded to 16); a second one adds each, with
weight 1, to the pixel it belongs to. For 5×5 and 32 inputs that is 3,200 multiplications, padding
counted, in place of 6,400.
"""

import numpy as np
from numpy.typing import NDArray

LANES = 8
"""Outputs that are computed together: float32 values of an AVX2 register."""


def split(kernel: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split a convolution into one along y and one along x.

    Parameters
    ----------
    kernel : float32 (k, k, in, out)
        Of a valid convolution.

    Returns
    -------
    rows : float32 (k, 1, in, n)
        ``n`` is ``k * out`` rounded up to whole registers; the added outputs are 0.
    columns : float32 (1, k, n, out)
        Ones and zeros.
    """
    size, _, inputs, outputs = kernel.shape
    rows = np.zeros((size, 1, inputs, _padded(size * outputs)), np.float32)
    rows[:, 0, :, : size * outputs] = kernel.transpose(0, 2, 1, 3).reshape(size, inputs, -1)
    columns = np.zeros((1, size, rows.shape[3], outputs), np.float32)
    for tap in range(size):
        for output in range(outputs):
            columns[0, tap, tap * outputs + output, output] = 1
    return rows, columns


def splitting_pays(shape: tuple[int, ...]) -> bool:
    """Whether splitting takes fewer multiplications, those of padding counted.

    Parameters
    ----------
    shape : tuple of int
        (k, k, in, out) of the convolution.
    """
    size, _, inputs, outputs = shape
    between = _padded(size * outputs)
    return size * (inputs * between + between * _padded(outputs)) < size**2 * inputs * _padded(
        outputs
    )


def _padded(outputs: int) -> int:
    return -(-outputs // LANES) * LANES
