"""How far a network reaches, in pixels: pure integers.

Lengths are in pixels of one axis; *LR* pixels are those of the input, *HR* pixels those of the
output, ``scale`` times finer. Invariant: given a core of LR pixels and `lr_halo` more on each
side, the ``scale * core`` HR pixels of the core depend on no pixel outside, so they are what the
whole image would have given.
"""

from collections.abc import Sequence

from srsat_dask.errors import ModelError


def hr_margin(kernels: Sequence[int]) -> int:
    """HR pixels that a stack of valid convolutions takes off each axis, both sides together.

    Parameters
    ----------
    kernels : sequence of int
        Kernel widths, in HR pixels, all odd.

    Returns
    -------
    int
        ``sum(k - 1)``: 12 for 9-1-5.

    Raises
    ------
    ModelError
        If a kernel is even or not positive: half a pixel would be lost on one side.
    """
    for kernel in kernels:
        if kernel < 1 or kernel % 2 == 0:
            raise ModelError(
                f"a kernel of {kernel} pixels has no centre; give odd widths like 9,1,5"
            )
    return sum(kernel - 1 for kernel in kernels)


def lr_halo(kernels: Sequence[int], scale: int) -> int:
    """LR pixels needed on each side of a core so that its HR pixels are exact.

    The first HR pixel of the core reaches ``r = hr_margin / 2`` HR pixels back. HR pixel ``p`` has
    its centre at LR coordinate ``(p + 0.5) / scale - 0.5``, and the bicubic kernel there takes the
    LR pixels ``floor - 1 .. floor + 2``. The far side follows by symmetry.

    Parameters
    ----------
    kernels : sequence of int
        Kernel widths, in HR pixels, all odd.
    scale : int
        HR pixels per LR pixel.

    Returns
    -------
    int
        For 9-1-5: 5 at scale 2, 4 at scale 3, 3 at scale 4.

    Raises
    ------
    ModelError
        If a kernel is even or not positive, or `scale` is not positive.
    """
    if scale < 1:
        raise ModelError(f"scale {scale} is not positive; give 2, 3 or 4")
    radius = hr_margin(kernels) // 2
    # floor((-r + 0.5) / scale - 0.5) in integers
    return 1 - (1 - 2 * radius - scale) // (2 * scale)
