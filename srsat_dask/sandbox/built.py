"""Towns, suburbs and works: streets, roofs, yards and parked cars.

Painters of :mod:`srsat_dask.sandbox.ground`, which says what a painter is.
"""

import numpy as np
from numpy.typing import NDArray

from srsat_dask.sandbox.materials import CARS, Material, Surface, pick
from srsat_dask.sandbox.noise import Cells, Floats
from srsat_dask.sandbox.patterns import garden_trees, rows, wrap

M = Material

HOUSE_ROOFS = [
    M.SLATE, M.SLATE, M.SLATE, M.CHARCOAL, M.CHARCOAL, M.BROWN_TILE, M.BROWN_TILE, M.RED_TILE,
    M.BLUE_TILE, M.GREY_METAL, M.TEAL_METAL, M.RUST_METAL, M.WHITE_METAL,
]  # fmt: skip
HALL_ROOFS = [
    M.GREY_METAL, M.GREY_METAL, M.WHITE_METAL, M.WHITE_METAL, M.TEAL_METAL, M.BLUE_TILE,
    M.RUST_METAL, M.SLATE,
]  # fmt: skip
YARDS = [M.CONCRETE, M.GRAVEL, M.GRAVEL, M.SOIL, M.GRASS, M.DRY_GRASS]


def town(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Houses wall to wall, a few blocks of flats among them."""
    return _lots(u, v, seed, step, lot_width=12.0, lot_depth=17.0, open_share=0.10, trees=0.16)


def suburb(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Houses in gardens, vegetable plots between them."""
    return _lots(u, v, seed, step, lot_width=17.0, lot_depth=22.0, open_share=0.30, trees=0.34)


def _lots(
    u: Floats,
    v: Floats,
    seed: int,
    step: float,
    *,
    lot_width: float,
    lot_depth: float,
    open_share: float,
    trees: float,
) -> Surface:
    """Streets around blocks of two rows of lots, a house on most of them."""
    street, per_block = 5.0, 6
    block_u, fu = wrap(u, street + per_block * lot_width)
    block_v, fv = wrap(v, street + 2 * lot_depth)
    column, p = wrap(fu - street, lot_width)
    row, q = wrap(fv - street, lot_depth)
    p, q = p - lot_width / 2, q - lot_depth / 2
    on_street = (fu < street) | (fv < street)
    lot = Cells(block_u * per_block + column, block_v * 2 + row, seed)

    bare = pick(YARDS, lot.random(1))
    surface = Surface(lot.at(bare), lot.at(0.85 + 0.3 * lot.random(2)), np.zeros_like(u))
    wall = (np.abs(p) > lot_width / 2 - 0.3) | (np.abs(q) > lot_depth / 2 - 0.3)
    surface.paint(wall, M.CONCRETE, 0.95, 0.8)
    surface.paint(on_street, M.ASPHALT, 1.0)
    garden_trees(surface, ~on_street, u, v, seed + 1, trees)

    built = lot.random(3) >= open_share
    block_of_flats = built & (lot.random(4) < 0.06)
    _car(surface, p - lot_width * 0.22, q + lot_depth * 0.36, lot, lot.random(5) < 0.5)
    _house(surface, p, q, lot, built & ~block_of_flats, lot_width, lot_depth)
    _flats(surface, p, q, lot, block_of_flats, lot_width, lot_depth)
    vegetables = lot.at(~built & (lot.random(6) < 0.6)) & ~on_street & ~wall
    surface.paint(vegetables, M.SOIL, 1.0 + rows(q, 1.6, step) * 0.25, 0.15)
    return surface


def _house(
    surface: Surface, p: Floats, q: Floats, lot: Cells, built: NDArray[np.bool_],
    lot_width: float, lot_depth: float,
) -> None:  # fmt: skip
    """Draw a gabled or hipped house with a lower wing, turned a little off its lot."""
    turn = 0.16 * (lot.random(10) - 0.5)
    cos, sin = lot.at(np.cos(turn)), lot.at(np.sin(turn))
    dp = p - lot.at(1.6 * (lot.random(11) - 0.5))
    dq = q - lot.at(2.4 * (lot.random(12) - 0.5)) - 1.0
    along, across = dp * cos + dq * sin, dq * cos - dp * sin

    upright = lot.random(13) < 0.35
    long = lot_width * (0.30 + 0.10 * lot.random(14))
    short = lot_depth * (0.19 + 0.08 * lot.random(15))
    half_p, half_q = np.where(upright, short, long), np.where(upright, long, short)
    half_p, half_q = np.where(built, half_p, -1), np.where(built, half_q, -1)
    eaves = np.where(lot.random(16) < 0.6, np.float32(6.0), np.float32(3.2))
    roof = lot.at(pick(HOUSE_ROOFS, lot.random(17)))
    tone = lot.at(0.8 + 0.35 * lot.random(18))

    hipped = lot.at(lot.random(19) < 0.5)
    wing_p = along + lot.at(half_p * (lot.random(20) - 0.5))
    wing_q = across - lot.at(half_q * 0.75)
    in_p, in_q = lot.at(half_p * 0.55) - np.abs(wing_p), lot.at(half_q * 0.62) - np.abs(wing_q)
    rise = np.minimum(in_p, in_q)
    surface.paint(rise > 0, roof, tone, lot.at(eaves * 0.62) + 0.5 * rise)

    in_p, in_q = lot.at(half_p) - np.abs(along), lot.at(half_q) - np.abs(across)
    rise = np.minimum(in_p, in_q)
    gable = np.where(lot.at(half_p > half_q), in_q, in_p)
    pitch = np.where(hipped, rise, gable)
    surface.paint(rise > 0, roof, tone, lot.at(eaves) + 0.55 * pitch)
    panels = lot.at(lot.random(21) < 0.10) & (rise > 0.7) & (across > 0.5)
    np.copyto(surface.material, np.uint8(M.PANEL), where=panels)


def _flats(
    surface: Surface, p: Floats, q: Floats, lot: Cells, built: NDArray[np.bool_],
    lot_width: float, lot_depth: float,
) -> None:  # fmt: skip
    """Draw a flat-roofed block that fills its lot, with a parapet and a stair head."""
    inside = lot.at(built)
    if not inside.any():
        return
    edge = np.minimum(lot_width * 0.42 - np.abs(p), lot_depth * 0.38 - np.abs(q))
    inside &= edge > 0
    height = lot.at(8 + 6 * lot.random(30))
    surface.paint(inside, M.CONCRETE, lot.at(0.85 + 0.35 * lot.random(31)), height)
    surface.paint(inside & (edge < 0.5), M.CONCRETE, 1.15, height + 0.8)
    head = inside & (np.abs(p - 1.5) < 1.6) & (np.abs(q + 2.0) < 2.2)
    surface.paint(head, M.GREY_METAL, 1.0, height + 2.6)


def _car(surface: Surface, p: Floats, q: Floats, lot: Cells, present: NDArray[np.bool_]) -> None:
    """Park a car at (p, q) = 0 of the lots that have one."""
    body = (np.abs(p) < 0.9) & (np.abs(q) < 2.1) & lot.at(present)
    surface.paint(body, lot.at(pick(CARS, lot.random(40))), 1.0, 1.4)


def works(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Halls with ribbed or saw-tooth roofs, car parks, tanks and fields of solar panels."""
    street = 8.0
    i, fu = wrap(u, 78.0)
    j, fv = wrap(v, 56.0)
    plot = Cells(i, j, seed)
    p, q = fu - street - 35.0, fv - street - 24.0
    kind = plot.at((plot.random(1) * 10).astype(np.uint8))
    on_street = (fu < street) | (fv < street)
    surface = Surface.bare(len(u), M.CONCRETE)
    surface.paint(plot.at(plot.random(2) < 0.5), M.ASPHALT, 1.1)

    parking = (kind >= 4) & (np.abs(p) < 33)
    _parking(surface, parking, p, q, seed + 3)

    half_p, half_q = 22 + 10 * plot.random(4), 13 + 7 * plot.random(5)
    edge = np.minimum(plot.at(half_p) - np.abs(p), plot.at(half_q) - np.abs(q))
    hall = (edge > 0) & (kind <= 6)
    tooth = np.where(plot.at(plot.random(6) < 0.3), 3.0 * wrap(p, 7.0)[1] / 7.0, 0.0)
    pitch = np.where(tooth > 0, tooth, (plot.at(half_q) - np.abs(q)) * 0.12)
    tone = plot.at(0.85 + 0.25 * plot.random(7)) * (1 + 0.10 * rows(p, 2.4, step))
    surface.paint(hall, plot.at(pick(HALL_ROOFS, plot.random(8))), tone, 7 + pitch)
    skylight = hall & (edge > 2) & (wrap(p, 9.0)[1] < 1.0) & plot.at(plot.random(9) < 0.4)
    np.copyto(surface.material, np.uint8(M.PLASTIC), where=skylight)
    unit_i, unit_u = wrap(u, 6.0)
    unit_j, unit_v = wrap(v, 6.0)
    unit = Cells(unit_i, unit_j, seed + 4)
    boxes = (np.abs(unit_u - 3) < 1.1) & (np.abs(unit_v - 3) < 0.9)
    boxes &= hall & (edge > 1.5) & (tooth == 0) & unit.at(unit.random(1) < 0.16)
    surface.paint(boxes, M.WHITE_METAL, 1.0, 9.6)

    solar = (kind == 9) & (np.abs(p) < 32) & (np.abs(q) < 21)
    surface.paint(solar, M.DRY_GRASS)
    _, across = wrap(q, 4.2)
    surface.paint(
        solar & (across < 2.4) & (wrap(p, 16.0)[1] > 0.8), M.PANEL, 1.0, 0.6 + 0.33 * across
    )
    _, tank_p = wrap(p, 17.0)
    _, tank_q = wrap(q, 17.0)
    dome = 43.6 - np.square(tank_p - 8.5) - np.square(tank_q - 8.5)
    tank = (kind == 8) & (dome > 0) & (np.abs(p) < 34) & (np.abs(q) < 17)
    rim = np.where(dome > 9, np.float32(1.05), np.float32(0.95))
    surface.paint(tank, M.WHITE_METAL, rim, 8 + 0.015 * dome)
    surface.paint(on_street, M.ASPHALT)
    surface.paint(on_street & (fu >= street) & (np.abs(fv - street / 2) < 0.2), M.PAINT, 0.8)
    return surface


def _parking(surface: Surface, where: NDArray[np.bool_], p: Floats, q: Floats, seed: int) -> None:
    """Mark bays either side of aisles and leave cars in most of them."""
    aisle, fq = wrap(q, 16.0)
    bay, fp = wrap(p, 2.6)
    near, far = fq < 5.0, (fq >= 5.0) & (fq < 10.0)
    surface.paint(where, M.ASPHALT, 1.05)
    surface.paint(where & (near | far) & (fp < 0.18), M.PAINT, 0.9)
    spot = Cells(bay, aisle * 2 + far, seed)
    car = where & spot.at(spot.random(1) < 0.62) & (np.abs(fp - 1.4) < 0.9)
    car &= (np.abs(fq - 2.6) < 2.1) | (np.abs(fq - 7.4) < 2.1)
    surface.paint(car, spot.at(pick(CARS, spot.random(2))), 1.0, 1.4)
