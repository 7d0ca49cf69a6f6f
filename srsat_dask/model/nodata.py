"""Plausible values for missing pixels, so that none of them shows in their neighbours."""

import numpy as np
from numpy.typing import NDArray


def fill_nodata(
    image: NDArray[np.float32], valid: NDArray[np.bool_], reach: int
) -> NDArray[np.float32]:
    """Grow the valid pixels into the missing ones.

    Repeated `reach` times: each missing pixel takes the mean of its valid neighbours among the
    3×3 around it, and counts as valid from the next round on. The sums are made in one fixed
    order, so a pixel has the same bits in every window that holds `reach` pixels around it.

    Parameters
    ----------
    image : float32 (y, x, bands)
        Any unit; what lies under missing pixels is ignored, NaN included.
    valid : bool (y, x)
        False where a pixel is missing.
    reach : int
        How far to grow, in pixels.

    Returns
    -------
    float32 (y, x, bands)
        `image` where valid, filled within `reach` of it, and 0 beyond.
    """
    height, width = valid.shape
    # A frame of missing pixels spares the sums the edges.
    present = np.pad(valid, 1)
    values = np.pad(np.where(valid[..., None], image, np.float32(0)), ((1, 1), (1, 1), (0, 0)))
    for _ in range(reach):
        count = np.zeros((height, width), np.float32)
        total = np.zeros_like(values[1:-1, 1:-1])
        for y in range(3):
            for x in range(3):
                count += present[y : y + height, x : x + width]
                total += values[y : y + height, x : x + width]
        grown = ~present[1:-1, 1:-1] & (count > 0)
        if not grown.any():
            break
        values[1:-1, 1:-1][grown] = total[grown] / count[grown][:, None]
        present[1:-1, 1:-1] |= grown
    return values[1:-1, 1:-1].copy()
