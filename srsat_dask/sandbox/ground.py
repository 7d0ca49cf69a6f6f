"""What stands in a district: one painter for each use.

A painter is given points in the district's own frame (u along its streets or rows, v across,
metres) and returns what lies there: material, brightness, height. Light comes later, from the
heights. A painter looks at each point alone, so that any grid of points gives the same picture.
"""

from collections.abc import Callable

from srsat_dask.sandbox.built import suburb, town, works
from srsat_dask.sandbox.districts import Use
from srsat_dask.sandbox.fields import farm, forest, paddy
from srsat_dask.sandbox.materials import Surface
from srsat_dask.sandbox.noise import Floats


def ground(use: int, u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Say what lies at some points of one district.

    Parameters
    ----------
    use : int
        The district's :class:`Use`.
    u, v : ndarray of float32, shape (n,)
        Points in the frame of the district, metres.
    seed : int
        The district's own.
    step : float
        Distance of neighbouring samples, metres; rows too fine for it fade away.

    Returns
    -------
    Surface
        Of n points.
    """
    return _PAINTERS[Use(use)](u, v, seed, step)


_PAINTERS: dict[Use, Callable[[Floats, Floats, int, float], Surface]] = {
    Use.TOWN: town,
    Use.SUBURB: suburb,
    Use.WORKS: works,
    Use.PADDY: paddy,
    Use.FARM: farm,
    Use.FOREST: forest,
}
