"""What stands in a district: one painter for each use.

A painter is given points in the district's own frame (u along its streets or rows, v across,
metres) and returns what lies there: material, brightness, height. Light comes later, from the
heights. A painter looks at each point alone, so that any grid of points gives the same picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from srsat_dask.sandbox.districts import Use
from srsat_dask.sandbox.materials import CARS, Material, Surface, pick
from srsat_dask.sandbox.noise import Cells, Floats

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
PADDIES = [
    M.RICE, M.RICE, M.RICE, M.RIPE_RICE, M.RIPE_RICE, M.STUBBLE, M.WET_SOIL, M.GRASS,
]  # fmt: skip
CROPS = [
    M.CABBAGE, M.CABBAGE, M.WHEAT, M.SOIL, M.SOIL, M.WET_SOIL, M.GRASS, M.DRY_GRASS, M.STUBBLE,
]  # fmt: skip
WOODS = [
    M.CEDAR, M.CEDAR, M.CEDAR, M.BROADLEAF, M.BROADLEAF, M.BROADLEAF, M.LIGHT_LEAF, M.AUTUMN_LEAF,
]  # fmt: skip
STANDS = [M.CEDAR, M.CEDAR, M.CEDAR, M.BROADLEAF, M.BROADLEAF, M.LIGHT_LEAF]
GARDEN_TREES = [M.CEDAR, M.BROADLEAF, M.BROADLEAF, M.LIGHT_LEAF]


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


def _town(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    return _lots(u, v, seed, step, lot_width=12.0, lot_depth=17.0, open_share=0.10, trees=0.16)


def _suburb(u: Floats, v: Floats, seed: int, step: float) -> Surface:
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
    block_u, fu = _wrap(u, street + per_block * lot_width)
    block_v, fv = _wrap(v, street + 2 * lot_depth)
    column, p = _wrap(fu - street, lot_width)
    row, q = _wrap(fv - street, lot_depth)
    p, q = p - lot_width / 2, q - lot_depth / 2
    on_street = (fu < street) | (fv < street)
    lot = Cells(block_u * per_block + column, block_v * 2 + row, seed)

    bare = pick(YARDS, lot.random(1))
    surface = Surface(lot.at(bare), lot.at(0.85 + 0.3 * lot.random(2)), np.zeros_like(u))
    wall = (np.abs(p) > lot_width / 2 - 0.3) | (np.abs(q) > lot_depth / 2 - 0.3)
    surface.paint(wall, M.CONCRETE, 0.95, 0.8)
    surface.paint(on_street, M.ASPHALT, 1.0)
    _garden_trees(surface, ~on_street, u, v, seed + 1, trees)

    built = lot.random(3) >= open_share
    block_of_flats = built & (lot.random(4) < 0.06)
    _car(surface, p - lot_width * 0.22, q + lot_depth * 0.36, lot, lot.random(5) < 0.5)
    _house(surface, p, q, lot, built & ~block_of_flats, lot_width, lot_depth)
    _flats(surface, p, q, lot, block_of_flats, lot_width, lot_depth)
    vegetables = lot.at(~built & (lot.random(6) < 0.6)) & ~on_street & ~wall
    surface.paint(vegetables, M.SOIL, 1.0 + _rows(q, 1.6, step) * 0.25, 0.15)
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


def _works(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Halls with ribbed or saw-tooth roofs, car parks, tanks and fields of solar panels."""
    street = 8.0
    i, fu = _wrap(u, 78.0)
    j, fv = _wrap(v, 56.0)
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
    tooth = np.where(plot.at(plot.random(6) < 0.3), 3.0 * _wrap(p, 7.0)[1] / 7.0, 0.0)
    pitch = np.where(tooth > 0, tooth, (plot.at(half_q) - np.abs(q)) * 0.12)
    tone = plot.at(0.85 + 0.25 * plot.random(7)) * (1 + 0.10 * _rows(p, 2.4, step))
    surface.paint(hall, plot.at(pick(HALL_ROOFS, plot.random(8))), tone, 7 + pitch)
    skylight = hall & (edge > 2) & (_wrap(p, 9.0)[1] < 1.0) & plot.at(plot.random(9) < 0.4)
    np.copyto(surface.material, np.uint8(M.PLASTIC), where=skylight)
    unit_i, unit_u = _wrap(u, 6.0)
    unit_j, unit_v = _wrap(v, 6.0)
    unit = Cells(unit_i, unit_j, seed + 4)
    boxes = (np.abs(unit_u - 3) < 1.1) & (np.abs(unit_v - 3) < 0.9)
    boxes &= hall & (edge > 1.5) & (tooth == 0) & unit.at(unit.random(1) < 0.16)
    surface.paint(boxes, M.WHITE_METAL, 1.0, 9.6)

    solar = (kind == 9) & (np.abs(p) < 32) & (np.abs(q) < 21)
    surface.paint(solar, M.DRY_GRASS)
    _, across = _wrap(q, 4.2)
    surface.paint(
        solar & (across < 2.4) & (_wrap(p, 16.0)[1] > 0.8), M.PANEL, 1.0, 0.6 + 0.33 * across
    )
    _, tank_p = _wrap(p, 17.0)
    _, tank_q = _wrap(q, 17.0)
    dome = 43.6 - np.square(tank_p - 8.5) - np.square(tank_q - 8.5)
    tank = (kind == 8) & (dome > 0) & (np.abs(p) < 34) & (np.abs(q) < 17)
    rim = np.where(dome > 9, np.float32(1.05), np.float32(0.95))
    surface.paint(tank, M.WHITE_METAL, rim, 8 + 0.015 * dome)
    surface.paint(on_street, M.ASPHALT)
    surface.paint(on_street & (fu >= street) & (np.abs(fv - street / 2) < 0.2), M.PAINT, 0.8)
    return surface


def _parking(surface: Surface, where: NDArray[np.bool_], p: Floats, q: Floats, seed: int) -> None:
    """Mark bays either side of aisles and leave cars in most of them."""
    aisle, fq = _wrap(q, 16.0)
    bay, fp = _wrap(p, 2.6)
    near, far = fq < 5.0, (fq >= 5.0) & (fq < 10.0)
    surface.paint(where, M.ASPHALT, 1.05)
    surface.paint(where & (near | far) & (fp < 0.18), M.PAINT, 0.9)
    spot = Cells(bay, aisle * 2 + far, seed)
    car = where & spot.at(spot.random(1) < 0.62) & (np.abs(fp - 1.4) < 0.9)
    car &= (np.abs(fq - 2.6) < 2.1) | (np.abs(fq - 7.4) < 2.1)
    surface.paint(car, spot.at(pick(CARS, spot.random(2))), 1.0, 1.4)


def _paddy(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Long rice fields between tracks and ditches, in all their seasons."""
    i, fu = _wrap(u, 84.0)
    j, fv = _wrap(v, 50.0)
    half, fh = _wrap(fv - 4.0, 23.0)
    field = Cells(i, j * 2 + half, seed)
    split = field.at(field.random(1) < 0.4) & (fu > 44)
    field = Cells(i * 2 + split, j * 2 + half, seed + 1)
    crop = field.at(pick(PADDIES, field.random(2)))
    rows = _rows(fh, 2.6, step) * field.at(0.03 + 0.13 * field.random(3))
    rows += _rows(fh, 11.5, step) * 0.05
    surface = Surface(crop, field.at(0.82 + 0.34 * field.random(4)) * (1 + rows), np.zeros_like(u))

    plastic = field.at(field.random(5) < 0.07) & (fh > 1.5) & (fh < 21.5)
    arch = np.abs(_wrap(fh - 1.5, 6.6)[1] - 2.7)
    surface.paint(plastic, M.DRY_GRASS)
    surface.paint(plastic & (arch < 2.7), M.PLASTIC, 1.0, 3.0 - 0.3 * np.square(arch))
    bund = (fh < 0.7) | (fh > 22.3) | (fu < 4.6) | (fu > 83.4) | (split & (fu < 44.8))
    surface.paint(bund, M.DRY_GRASS, 1.0, 0.3)
    track = (fu < 3.4) | (fv < 3.2)
    surface.paint(track, M.GRAVEL, np.where(np.abs(fv - 1.6) < 0.5, 0.85, 1.05))
    ditch = np.abs(fv - 3.6) < 0.4
    surface.paint(ditch & (fu >= 3.4), M.WATER, 0.9, -0.6)
    return surface


def _farm(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Small fields of everything: vegetables, tea, orchards, glasshouses, fallow."""
    i, fu = _wrap(u, 62.0)
    j, fv = _wrap(v, 40.0)
    field = Cells(i, j, seed)
    cut = field.at(18 + 28 * field.random(1))
    right = fu > cut
    field = Cells(i * 2 + right, j, seed + 1)
    kind = field.at((field.random(2) * 12).astype(np.uint8))
    tone = field.at(0.82 + 0.36 * field.random(3))
    row_axis = np.where(field.at(field.random(4) < 0.5), fu, fv)
    coarse = np.where(field.at(field.random(5) < 0.5), _rows(row_axis, 2.2, step),
                      _rows(row_axis, 3.4, step))  # fmt: skip
    crop = field.at(pick(CROPS, field.random(6)))
    surface = Surface(
        crop, tone * (1 + coarse * field.at(0.05 + 0.22 * field.random(7))), np.zeros_like(u)
    )

    surface.paint(kind == 0, M.TEA, tone, 0.9 * _wave(row_axis, 2.0) + 0.4)
    arch = np.abs(_wrap(row_axis, 7.0)[1] - 2.8)
    surface.paint(kind == 1, M.DRY_GRASS)
    surface.paint((kind == 1) & (arch < 2.8), M.PLASTIC, tone, 3.0 - 0.3 * np.square(arch))
    orchard = kind <= 3
    surface.paint(orchard & (kind >= 2), M.GRASS, tone)
    _, tree_u = _wrap(u, 5.6)
    _, tree_v = _wrap(v, 5.6)
    crown = 4.4 - np.square(tree_u - 2.8) - np.square(tree_v - 2.8)
    surface.paint((orchard & (kind >= 2)) & (crown > 0), M.BROADLEAF, tone * 1.1, 1.2 + 0.5 * crown)
    _garden_trees(surface, kind == 11, u, v, seed + 2, 0.5)

    edge = np.minimum(np.minimum(fu, fv), np.abs(fu - cut))
    surface.paint(edge < 0.8, M.DRY_GRASS, 1.0, 0.2)
    track = fv < 3.0
    surface.paint(track, M.GRAVEL, np.where(np.abs(fv - 1.5) < 0.4, 0.85, 1.0))
    surface.paint((fu < 4.0) & (j % 2 == 0) & (i % 3 == 0), M.ASPHALT, 1.1)
    return surface


def _forest(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Two generations of crowns over dark undergrowth, broken by a track."""
    surface = Surface.bare(len(u), M.UNDERGROWTH)
    _crowns(surface, u, v, seed, 4.6, 0.95, 5.5)
    turned_u, turned_v = 0.857 * u + 0.515 * v, 0.857 * v - 0.515 * u
    _crowns(surface, turned_u, turned_v, seed + 1, 7.4, 0.82, 8.0)
    _, fu = _wrap(u + 6 * np.abs(_wave(v, 170.0)), 240.0)
    surface.paint(fu < 3.2, M.GRAVEL, 0.95)
    return surface


def _crowns(
    surface: Surface, u: Floats, v: Floats, seed: int, spacing: float, share: float, tall: float
) -> None:
    """Grow a tree in most cells of a lattice; the taller of two crowns shows."""
    i, fu = _wrap(u, spacing)
    j, fv = _wrap(v, spacing)
    tree = Cells(i, j, seed)
    radius = spacing * (0.36 + 0.16 * tree.random(1))
    slack = np.maximum(spacing / 2 - radius, 0) * 1.8
    du = fu - tree.at(spacing / 2 + slack * (tree.random(2) - 0.5))
    dv = fv - tree.at(spacing / 2 + slack * (tree.random(3) - 0.5))
    bulge = 1.0 - (np.square(du) + np.square(dv)) * tree.at(1.0 / radius**2)
    top = np.where(tree.random(4) < share, tall * (0.75 + 0.5 * tree.random(5)), np.float32(0))
    height = tree.at(top) * (0.55 + 0.45 * bulge)
    # Most trees are of the kind their stand was planted with, and of its age.
    stand = Cells(i // 11, j // 13, seed)
    strays = tree.at(tree.random(6) < 0.18)
    kind = np.where(
        strays, tree.at(pick(WOODS, tree.random(7))), stand.at(pick(STANDS, stand.random(8)))
    )
    surface.paint(
        (bulge > 0) & (height > surface.height),
        kind,
        tree.at(0.78 + 0.4 * tree.random(9)) * stand.at(0.85 + 0.25 * stand.random(10)),
        height,
    )


def _garden_trees(
    surface: Surface, where: NDArray[np.bool_], u: Floats, v: Floats, seed: int, share: float
) -> None:
    """Set single trees and shrubs where there is room."""
    i, fu = _wrap(u, 4.5)
    j, fv = _wrap(v, 4.5)
    tree = Cells(i, j, seed)
    radius = np.where(tree.random(1) < share, 0.9 + 1.3 * tree.random(2), 0).astype(np.float32)
    bulge = tree.at(np.square(radius)) - np.square(fu - 2.25) - np.square(fv - 2.25)
    surface.paint(
        where & (bulge > 0),
        tree.at(pick(GARDEN_TREES, tree.random(3))),
        tree.at(0.8 + 0.4 * tree.random(4)),
        1.5 + 0.8 * bulge,
    )


def _car(surface: Surface, p: Floats, q: Floats, lot: Cells, present: NDArray[np.bool_]) -> None:
    """Park a car at (p, q) = 0 of the lots that have one."""
    body = (np.abs(p) < 0.9) & (np.abs(q) < 2.1) & lot.at(present)
    surface.paint(body, lot.at(pick(CARS, lot.random(40))), 1.0, 1.4)


def _wrap(x: Floats, period: float) -> tuple[NDArray[np.int32], Floats]:
    """Split a coordinate into the number of its period and the metres into it."""
    index = x * np.float32(1 / period)
    np.floor(index, out=index)
    number = index.astype(np.int32)
    index *= np.float32(-period)
    index += x
    return number, index


def _wave(x: Floats, period: float) -> Floats:
    """Triangular wave between -1 and 1, 1 in the middle of each period."""
    wave: Floats = np.float32(1) - np.abs(_wrap(x, period)[1] * np.float32(4 / period) - 2)
    return wave


def _rows(x: Floats, period: float, step: float) -> Floats:
    """Rows of a field or ribs of a roof, -1..1; they fade where samples cannot resolve them."""
    return _wave(x, period) * np.float32(min(max(1.5 - 2 * step / period, 0.0), 1.0))


_PAINTERS: dict[Use, Callable[[Floats, Floats, int, float], Surface]] = {
    Use.TOWN: _town,
    Use.SUBURB: _suburb,
    Use.WORKS: _works,
    Use.PADDY: _paddy,
    Use.FARM: _farm,
    Use.FOREST: _forest,
}
