"""The lie of the land at every sample of a grid: districts, river and roads put together."""

import numpy as np

from srsat_dask.sandbox.districts import ROAD_WIDTHS, Plan, Use, plan
from srsat_dask.sandbox.ground import ground
from srsat_dask.sandbox.materials import CARS, Material, Surface, pick
from srsat_dask.sandbox.noise import Cells, Floats, value_noise

BATCH = 1 << 16
"""Points painted at once: what they need fits a core's cache."""


def survey(x: Floats, y: Floats, step: float, seed: int) -> Surface:
    """Say what lies at every sample of a grid: districts, then the river, then the roads.

    Parameters
    ----------
    x, y : ndarray of float32, shapes (columns,) and (rows,)
        Sample coordinates, ground metres.
    step : float
        Distance of neighbouring samples, metres.
    seed : int
        Seed of the world.

    Returns
    -------
    Surface
        Of ``rows * columns`` points, row by row.
    """
    layout = plan(x, y, seed)
    nearest, bent_x, bent_y = layout.nearest.ravel(), layout.x.ravel(), layout.y.ravel()
    whole = Surface.bare(nearest.size, Material.GRASS)
    for k in range(len(layout.sites.x)):
        district = np.flatnonzero(nearest == k)
        cos, sin = np.cos(layout.sites.angle[k]), np.sin(layout.sites.angle[k])
        for first in range(0, district.size, BATCH):
            here = district[first : first + BATCH]
            dx, dy = bent_x[here] - layout.sites.x[k], bent_y[here] - layout.sites.y[k]
            u, v = dx * cos + dy * sin, dy * cos - dx * sin
            whole.lay(here, ground(layout.sites.use[k], u, v, int(layout.sites.seed[k]), step))
    _river(whole, layout.river, x, y, seed)
    _roads(whole, layout, step, seed)
    return whole


def _river(surface: Surface, distance: Floats, x: Floats, y: Floats, seed: int) -> None:
    """Water between gravel bars and meadows, inside levees that carry a track."""
    near = np.flatnonzero(distance < 62)
    if not near.size:
        return
    far = distance.ravel()[near]
    bars = 26 * value_noise(x, y, 75.0, seed + 71) + 9 * value_noise(x, y, 17.0, seed + 72)
    shore = far + bars.ravel()[near] - np.float32(17)
    bed = Surface.bare(near.size, Material.GRASS)
    bed.height = np.clip((62 - far) * 0.4, 0, 3.0) * (far > 48)
    bed.paint(np.abs(far - 52) < 1.8, Material.ASPHALT, 1.1, 3.0)
    bed.paint(far < 42, Material.DRY_GRASS)
    bed.paint((far < 42) & (shore < 31), Material.GRASS, 0.9, 0.5)
    bed.paint((far < 40) & (shore < 24), Material.GRAVEL, 1.15)
    shallow = np.clip(0.85 + 0.02 * shore, 0.85, 1.25)
    bed.paint((far < 38) & (shore < 16), Material.WATER, shallow, -0.5)
    surface.lay(near, bed)


def _roads(surface: Surface, layout: Plan, step: float, seed: int) -> None:
    """Major roads between districts: pavement, lane marks, cars; some cross the river."""
    sites, road = layout.sites, layout.road.ravel()
    use = np.minimum(sites.use[:, None], sites.use)
    code = layout.nearest.ravel().astype(np.intp) * len(sites.x) + layout.second.ravel()
    widths = ROAD_WIDTHS[use].ravel()
    near = np.flatnonzero(road < widths.max() / 2 + 2.5)
    code, road, river = code[near], road[near], layout.river.ravel()[near]
    half = widths[code] / 2
    bridge = ((sites.seed[:, None] + sites.seed) % 5 < 3).ravel()[code]
    # Over the river only where there is a bridge; a road never runs on into the water.
    kept = (road < half + 2.5) & ((river > 50) | (bridge & (half > 2.6)))
    near, code, road, half, river = (each[kept] for each in (near, code, road, half, river))
    if not near.size:
        return

    dx, dy = sites.x[:, None] - sites.x, sites.y[:, None] - sites.y
    length = np.maximum(np.hypot(dx, dy), 1)
    flip = np.where((dx > 0) | ((dx == 0) & (dy > 0)), 1, -1)  # the same from either side
    along = (
        layout.y.ravel()[near] * (flip * dx / length).astype(np.float32).ravel()[code]
        - layout.x.ravel()[near] * (flip * dy / length).astype(np.float32).ravel()[code]
    )
    built = (use <= Use.WORKS).ravel()[code]
    deck = np.float32(3.0) * (river < 50)
    lane = Surface.bare(near.size, Material.ASPHALT)
    lane.shade[:] = np.where(built, 0.92, 1.05)
    dash = np.floor(along / 10) * 10 + 6 > along
    line = max(0.18, step / 2)
    lane.paint(built & (road < line) & dash, Material.PAINT, 0.9)
    lane.paint(built & (np.abs(road - half + 0.5) < line), Material.PAINT, 0.8)
    cell = Cells(np.floor(along / 9).astype(np.int32), flip.ravel()[code], seed + 41)
    car = cell.at(cell.random(1) < 0.16) & (np.abs(along - np.floor(along / 9) * 9 - 4.5) < 2.2)
    car &= built & (np.abs(road - half / 2) < 0.95)
    lane.paint(car, cell.at(pick(CARS, cell.random(2))), 1.0, 1.5)
    lane.height += deck
    pavement = (road >= half) & (built | (river < 50))
    lane.paint(pavement, Material.CONCRETE, 1.05, deck + 0.2)
    shown = (road < half) | pavement
    surface.lay(near[shown], lane[shown])
