"""Rice, vegetables and woods: rows, orchards and crowns.

Painters of :mod:`srsat_dask.sandbox.ground`, which says what a painter is.
"""

import numpy as np

from srsat_dask.sandbox.materials import Material, Surface, pick
from srsat_dask.sandbox.noise import Cells, Floats
from srsat_dask.sandbox.patterns import garden_trees, rows, wave, wrap

M = Material

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


def paddy(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Long rice fields between tracks and ditches, in all their seasons."""
    i, fu = wrap(u, 84.0)
    j, fv = wrap(v, 50.0)
    half, fh = wrap(fv - 4.0, 23.0)
    field = Cells(i, j * 2 + half, seed)
    split = field.at(field.random(1) < 0.4) & (fu > 44)
    field = Cells(i * 2 + split, j * 2 + half, seed + 1)
    crop = field.at(pick(PADDIES, field.random(2)))
    ridges = rows(fh, 2.6, step) * field.at(0.03 + 0.13 * field.random(3))
    ridges += rows(fh, 11.5, step) * 0.05
    surface = Surface(
        crop, field.at(0.82 + 0.34 * field.random(4)) * (1 + ridges), np.zeros_like(u)
    )

    plastic = field.at(field.random(5) < 0.07) & (fh > 1.5) & (fh < 21.5)
    arch = np.abs(wrap(fh - 1.5, 6.6)[1] - 2.7)
    surface.paint(plastic, M.DRY_GRASS)
    surface.paint(plastic & (arch < 2.7), M.PLASTIC, 1.0, 3.0 - 0.3 * np.square(arch))
    bund = (fh < 0.7) | (fh > 22.3) | (fu < 4.6) | (fu > 83.4) | (split & (fu < 44.8))
    surface.paint(bund, M.DRY_GRASS, 1.0, 0.3)
    track = (fu < 3.4) | (fv < 3.2)
    surface.paint(track, M.GRAVEL, np.where(np.abs(fv - 1.6) < 0.5, 0.85, 1.05))
    ditch = np.abs(fv - 3.6) < 0.4
    surface.paint(ditch & (fu >= 3.4), M.WATER, 0.9, -0.6)
    return surface


def farm(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Small fields of everything: vegetables, tea, orchards, glasshouses, fallow."""
    i, fu = wrap(u, 62.0)
    j, fv = wrap(v, 40.0)
    field = Cells(i, j, seed)
    cut = field.at(18 + 28 * field.random(1))
    right = fu > cut
    field = Cells(i * 2 + right, j, seed + 1)
    kind = field.at((field.random(2) * 12).astype(np.uint8))
    tone = field.at(0.82 + 0.36 * field.random(3))
    row_axis = np.where(field.at(field.random(4) < 0.5), fu, fv)
    coarse = np.where(field.at(field.random(5) < 0.5), rows(row_axis, 2.2, step),
                      rows(row_axis, 3.4, step))  # fmt: skip
    crop = field.at(pick(CROPS, field.random(6)))
    surface = Surface(
        crop, tone * (1 + coarse * field.at(0.05 + 0.22 * field.random(7))), np.zeros_like(u)
    )

    surface.paint(kind == 0, M.TEA, tone, 0.9 * wave(row_axis, 2.0) + 0.4)
    arch = np.abs(wrap(row_axis, 7.0)[1] - 2.8)
    surface.paint(kind == 1, M.DRY_GRASS)
    surface.paint((kind == 1) & (arch < 2.8), M.PLASTIC, tone, 3.0 - 0.3 * np.square(arch))
    orchard = kind <= 3
    surface.paint(orchard & (kind >= 2), M.GRASS, tone)
    _, tree_u = wrap(u, 5.6)
    _, tree_v = wrap(v, 5.6)
    crown = 4.4 - np.square(tree_u - 2.8) - np.square(tree_v - 2.8)
    surface.paint((orchard & (kind >= 2)) & (crown > 0), M.BROADLEAF, tone * 1.1, 1.2 + 0.5 * crown)
    garden_trees(surface, kind == 11, u, v, seed + 2, 0.5)

    edge = np.minimum(np.minimum(fu, fv), np.abs(fu - cut))
    surface.paint(edge < 0.8, M.DRY_GRASS, 1.0, 0.2)
    track = fv < 3.0
    surface.paint(track, M.GRAVEL, np.where(np.abs(fv - 1.5) < 0.4, 0.85, 1.0))
    surface.paint((fu < 4.0) & (j % 2 == 0) & (i % 3 == 0), M.ASPHALT, 1.1)
    return surface


def forest(u: Floats, v: Floats, seed: int, step: float) -> Surface:
    """Two generations of crowns over dark undergrowth, broken by a track."""
    surface = Surface.bare(len(u), M.UNDERGROWTH)
    _crowns(surface, u, v, seed, 4.6, 0.95, 5.5)
    turned_u, turned_v = 0.857 * u + 0.515 * v, 0.857 * v - 0.515 * u
    _crowns(surface, turned_u, turned_v, seed + 1, 7.4, 0.82, 8.0)
    _, fu = wrap(u + 6 * np.abs(wave(v, 170.0)), 240.0)
    surface.paint(fu < 3.2, M.GRAVEL, 0.95)
    return surface


def _crowns(
    surface: Surface, u: Floats, v: Floats, seed: int, spacing: float, share: float, tall: float
) -> None:
    """Grow a tree in most cells of a lattice; the taller of two crowns shows."""
    i, fu = wrap(u, spacing)
    j, fv = wrap(v, spacing)
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
