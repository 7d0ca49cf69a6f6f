"""Windows cover an image, scale with it and continue it by reflection."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.mosaic.windows import Window, mirrored, split

sizes = st.integers(1, 300)


@given(height=sizes, width=sizes, step=st.integers(1, 130))
def test_windows_cover_each_pixel_exactly_once(height: int, width: int, step: int) -> None:
    """Counting the visits of every pixel finds one for each."""
    visits = np.zeros((height, width), dtype=int)
    indices = set()
    for index, window in split((height, width), step):
        visits[window.slices] += 1
        indices.add(index)
    assert (visits == 1).all()
    assert len(indices) == -(-height // step) * -(-width // step)


@given(
    size=st.integers(1, 40),
    before=st.integers(0, 100),
    after=st.integers(0, 100),
)
def test_mirrored_is_numpy_s_symmetric_padding(size: int, before: int, after: int) -> None:
    """NumPy's own padding is the oracle, margins wider than the axis included."""
    expected = np.pad(np.arange(size), (before, after), mode="symmetric")
    assert (mirrored(-before, size + after, size) == expected).all()


@given(
    y0=st.integers(0, 50),
    x0=st.integers(0, 50),
    height=sizes,
    width=sizes,
    scale=st.sampled_from([2, 3, 4]),
)
def test_scaling_back_and_forth_keeps_a_window(
    y0: int, x0: int, height: int, width: int, scale: int
) -> None:
    """A window of whole coarse pixels survives the way to the finer image and back."""
    window = Window(y0, y0 + height, x0, x0 + width)
    assert window.scaled(scale).coarsened(scale) == window
    assert window.scaled(scale).shape == (height * scale, width * scale)


def test_coarsened_takes_in_pixels_that_are_touched_in_part() -> None:
    """A window that starts and ends inside coarse pixels is covered by them."""
    assert Window(3, 9, 4, 8).coarsened(4) == Window(0, 3, 1, 2)


def test_expanded_and_clipped_leave_and_reenter_the_image() -> None:
    """Growing may leave the image, clipping brings it back."""
    assert Window(0, 2, 5, 9).expanded(3).clipped((4, 10)) == Window(0, 4, 2, 10)
