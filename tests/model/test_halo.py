"""The halo is derived, is enough, and is not more than needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from srsat_dask.errors import ModelError
from srsat_dask.model.bicubic import keys_kernel
from srsat_dask.model.halo import hr_margin, lr_halo

odd_kernels = st.lists(st.integers(0, 7).map(lambda half: 2 * half + 1), min_size=1, max_size=5)


def _lr_pixels_read(position: int, scale: int) -> np.ndarray:
    # Independent of the code under test: every LR pixel with a weight, found by looking.
    lr = np.arange(-40, 60)
    centre = (position + 0.5) / scale - 0.5
    return lr[np.abs(keys_kernel(lr - centre)) > 1e-12]


@pytest.mark.parametrize(("scale", "halo"), [(2, 5), (3, 4), (4, 3)])
def test_halo_of_the_paper_network(scale: int, halo: int) -> None:
    """The halos of 9-1-5 are those measured by hand."""
    assert hr_margin((9, 1, 5)) == 12
    assert lr_halo((9, 1, 5), scale) == halo


@given(odd_kernels, st.integers(1, 6), st.integers(1, 5))
def test_halo_holds_every_pixel_read(kernels: list[int], scale: int, core: int) -> None:
    """No LR pixel outside core and halo has a weight in the core's HR pixels."""
    radius, halo = hr_margin(kernels) // 2, lr_halo(kernels, scale)
    assert _lr_pixels_read(-radius, scale).min() >= -halo
    assert _lr_pixels_read(scale * core - 1 + radius, scale).max() <= core - 1 + halo


@given(odd_kernels, st.integers(2, 6))
def test_halo_is_not_larger_than_needed(kernels: list[int], scale: int) -> None:
    """The outermost pixel of the halo is read."""
    radius, halo = hr_margin(kernels) // 2, lr_halo(kernels, scale)
    # Where the first HR centre falls on an LR centre, that pixel alone has a weight.
    assume((2 * radius + scale - 1) % (2 * scale) != 0)
    assert _lr_pixels_read(-radius, scale).min() == -halo


@pytest.mark.parametrize("kernels", [(9, 2, 5), (0,), (-3, 3)])
def test_kernel_without_a_centre_is_refused(kernels: tuple[int, ...]) -> None:
    """Even and non-positive kernels are named and refused."""
    bad = next(kernel for kernel in kernels if kernel < 1 or kernel % 2 == 0)
    with pytest.raises(ModelError, match=f"kernel of {bad} pixels"):
        hr_margin(kernels)


def test_scale_below_one_is_refused() -> None:
    """A scale that is no magnification has no halo."""
    with pytest.raises(ModelError, match="scale 0"):
        lr_halo((3,), 0)
