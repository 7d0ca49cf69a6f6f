"""Patches: where they may lie in a shard, and what is cut out there.

Pure arithmetic on arrays. Patches lie on the scene's grid of LR pixels: their corners are
multiples of the scale from the scene's origin, so that degrading a patch gives the very LR pixels
that degrading the scene gives. Invariant: no pixel that a training patch touches, its context
included, is held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from srsat_dask.model.degradation import BICUBIC, Degradation, stretch
from srsat_dask.model.nodata import fill_nodata

VALID_FRACTION = 0.99
"""A patch is taken if more than this share of its pixels is valid, as in the article."""

LEAST_CONTRAST = 0.6
"""Least share of its contrast that a recoloured patch keeps."""

Corners = npt.NDArray[np.intp]
"""Upper left corners of patches in pixels of a window, (n, 2): row, column."""


@dataclass(frozen=True)
class PatchShape:
    """Geometry of a patch, and how its input is made."""

    scale: int
    """HR pixels per LR pixel."""
    size: int
    """Side of the target in HR pixels, a multiple of the scale."""
    halo: int
    """LR pixels of input on each side of the target."""
    contrast_stretch: bool = False
    """Whether a patch is stretched to its own contrast before it is degraded."""
    degradation: Degradation = BICUBIC
    """How the input is made of the target and its context."""
    recoloured: bool = False
    """Whether training patches change their colours at random."""

    @property
    def context(self) -> int:
        """HR pixels read on each side of the target, a multiple of the scale."""
        return self.scale * self.halo + self.degradation.margin(self.scale)

    @property
    def side(self) -> int:
        """Side of the input in LR pixels."""
        return self.size // self.scale + 2 * self.halo


@dataclass(frozen=True)
class Place:
    """Where in the feed's endless row of batches one lies: enough to draw it again."""

    pool: int = 0
    """Number of the first pool that the batch is drawn from."""
    batch: int = 0
    """Number of the batch among those of the pool."""

    @property
    def next(self) -> "Place":
        """The place after it; past the pool's last batch it stands for the next pool's first."""
        return Place(self.pool, self.batch + 1)


@dataclass(frozen=True, eq=False)
class Patches:
    """Inputs, targets and weights of some patches."""

    lr: npt.NDArray[np.uint8]
    """Inputs, (n, side, side, bands)."""
    hr: npt.NDArray[np.uint8]
    """Targets, (n, size, size, bands); 0 where nodata."""
    weight: npt.NDArray[np.uint8]
    """1 where the target counts, 0 where it is nodata, (n, size, size)."""
    place: Place = Place()
    """Of a batch of the feed, where it lies."""
    scenes: tuple[str, ...] = ()
    """Of a batch of the feed, the scenes of its pool."""

    def __len__(self) -> int:
        return len(self.lr)

    def take(self, index: slice | npt.NDArray[np.intp]) -> "Patches":
        """Return the patches at a slice or at indices."""
        return Patches(self.lr[index], self.hr[index], self.weight[index])

    @classmethod
    def joined(cls, parts: Sequence["Patches"]) -> "Patches":
        """Return all patches of one or more parts, in order."""
        return cls(
            np.concatenate([part.lr for part in parts]),
            np.concatenate([part.hr for part in parts]),
            np.concatenate([part.weight for part in parts]),
        )


def training_corners(
    valid: npt.NDArray[np.bool_],
    held: npt.NDArray[np.bool_],
    origin: tuple[int, int],
    shape: PatchShape,
) -> Corners:
    """Find where training patches may lie in a window of a scene.

    Parameters
    ----------
    valid : bool (y, x)
        Which pixels of the window are valid.
    held : bool (y, x)
        Which pixels are held out of training.
    origin : tuple of int
        Row and column of the window in its scene, in pixels.
    shape : PatchShape
        Size and context of a patch.

    Returns
    -------
    intp (n, 2)
        Every corner on the scene's LR grid whose target is valid enough and whose context lies
        inside the window and off the held-out pixels; row by row.
    """
    wide = shape.size + 2 * shape.context
    return _corners(valid, held, origin, shape, side=wide, inset=0)


def validation_corners(
    valid: npt.NDArray[np.bool_],
    held: npt.NDArray[np.bool_],
    origin: tuple[int, int],
    shape: PatchShape,
) -> Corners:
    """Find patches that do not overlap and whose targets are held out, in a window of a scene.

    Parameters
    ----------
    valid, held, origin, shape
        As for `training_corners`.

    Returns
    -------
    intp (n, 2)
        Corners of patches packed from the upper left; their contexts, which nothing is learned
        from, may reach beyond the held-out pixels.
    """
    free = _corners(valid, ~held, origin, shape, side=shape.size, inset=shape.context)
    packed = []
    while len(free):
        packed.append(free[0])
        free = free[(np.abs(free - free[0]) >= shape.size).any(axis=1)]
    return np.array(packed, dtype=np.intp).reshape(-1, 2)


def degraded(
    image: npt.NDArray[np.uint8], origin: tuple[int, int], shape: PatchShape
) -> npt.NDArray[np.uint8]:
    """Degrade a window at once, to cut many inputs out of.

    Parameters
    ----------
    image : uint8 (bands, y, x)
        Pixels of the window; what lies under nodata is degraded like any other.
    origin : tuple of int
        Row and column of the window in its scene, in pixels.
    shape : PatchShape
        How it is degraded.

    Returns
    -------
    uint8 (y, x, bands)
        From the first whole LR pixel of the scene's grid on. Those within a margin of the window's
        edge are not exact, and no patch sees them.
    """
    scale = shape.scale
    rows, columns = (
        slice(-start % scale, -start % scale + (size - -start % scale) // scale * scale)
        for start, size in zip(origin, image.shape[1:], strict=True)
    )
    pixels = np.ascontiguousarray(image[:, rows, columns].transpose(1, 2, 0))
    place = (-(-origin[0] // scale), -(-origin[1] // scale))
    return shape.degradation.apply(pixels, scale, place)


def cut(
    image: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.bool_],
    corners: Corners,
    shape: PatchShape,
    origin: tuple[int, int] = (0, 0),
    coarse: npt.NDArray[np.uint8] | None = None,
) -> Patches:
    """Cut patches out of a window and make their inputs.

    Missing pixels are grown over from their valid neighbours before the patch is degraded, so
    what lies under nodata reaches neither input nor target.

    Parameters
    ----------
    image : uint8 (bands, y, x)
        Pixels of the window.
    valid : bool (y, x)
        Which of them are valid.
    corners : intp (n, 2)
        From `training_corners` or `validation_corners`.
    shape : PatchShape
        Size and context of a patch, and how it is degraded.
    origin : tuple of int
        Row and column of the window in its scene, in pixels: noise belongs to the place.
    coarse : uint8 (y, x, bands), optional
        The window as `degraded` makes it, for the inputs of patches that see no missing pixel; the
        others are degraded by themselves.

    Returns
    -------
    Patches
    """
    bands = image.shape[0]
    patches = Patches(
        np.empty((len(corners), shape.side, shape.side, bands), np.uint8),
        np.empty((len(corners), shape.size, shape.size, bands), np.uint8),
        np.empty((len(corners), shape.size, shape.size), np.uint8),
    )
    context, scale = shape.context, shape.scale
    border = context // scale - shape.halo
    inner = slice(border, border + shape.side)
    for n, (row, column) in enumerate(corners):
        core = (slice(row, row + shape.size), slice(column, column + shape.size))
        patches.weight[n] = valid[core]
        patches.hr[n] = image[:, *core].transpose(1, 2, 0)
        patches.hr[n] *= patches.weight[n][..., None]
        wide = (
            slice(row - context, row + shape.size + context),
            slice(column - context, column + shape.size + context),
        )
        present = valid[wide]
        if coarse is not None and present.all():
            y, x = row // scale - shape.halo, column // scale - shape.halo
            patches.lr[n] = coarse[y : y + shape.side, x : x + shape.side]
            continue
        pixels = np.ascontiguousarray(image[:, *wide].transpose(1, 2, 0))
        if not present.all():
            filled = fill_nodata(pixels.astype(np.float32), present, reach=context)
            pixels = np.rint(filled).astype(np.uint8)
        source = stretch(pixels) if shape.contrast_stretch else pixels
        place = (
            (origin[0] + int(row) - context) // scale,
            (origin[1] + int(column) - context) // scale,
        )
        patches.lr[n] = shape.degradation.apply(source, scale, place)[inner, inner]
    return patches


def turned(patches: Patches, rng: np.random.Generator) -> Patches:
    """Turn each patch by a random multiple of 90° and mirror every other one, as a copy."""
    quarters = rng.integers(4, size=len(patches))
    mirrored = rng.integers(2, size=len(patches)) == 1

    def turn(stack: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        result = np.empty_like(stack)
        for n, (quarter, mirror) in enumerate(zip(quarters, mirrored, strict=True)):
            part = np.rot90(stack[n], quarter)
            result[n] = part[:, ::-1] if mirror else part
        return result

    return Patches(turn(patches.lr), turn(patches.hr), turn(patches.weight))


def recoloured(patches: Patches, rng: np.random.Generator) -> Patches:
    """Exchange each patch's bands and lower its contrast at random, as a copy.

    Input and target change alike by a linear map, which upsampling and convolutions commute with
    but for rounding; no value leaves 0 to 255, so nothing is clipped.
    """
    lr, hr = patches.lr.copy(), patches.hr.copy()
    values = np.arange(256)
    for n in range(len(patches)):
        bands = rng.permutation(lr.shape[-1])
        contrast = rng.uniform(LEAST_CONTRAST, 1.0)
        table = np.rint(contrast * values + rng.uniform(0, 255 * (1 - contrast)))
        table = table.astype(np.uint8)
        lr[n] = table[patches.lr[n][..., bands]]
        hr[n] = table[patches.hr[n][..., bands]] * patches.weight[n][..., None]
    return replace(patches, lr=lr, hr=hr)


def _corners(
    valid: npt.NDArray[np.bool_],
    forbidden: npt.NDArray[np.bool_],
    origin: tuple[int, int],
    shape: PatchShape,
    *,
    side: int,
    inset: int,
) -> Corners:
    # Everything is a multiple of the scale: counting in LR cells is scale² times less work. All
    # sums are indexed by the upper left cell of the patch with its context.
    scale = shape.scale
    offset = (-origin[0] % scale, -origin[1] % scale)
    context = shape.context // scale
    wide = shape.size // scale + 2 * context
    usable = _box_sums(_cells(valid, offset, scale), shape.size // scale, context, wide)
    blocked = _box_sums(_cells(forbidden, offset, scale), side // scale, inset // scale, wide)
    allowed = (usable > VALID_FRACTION * shape.size**2) & (blocked == 0)
    corners: Corners = (np.argwhere(allowed) + context) * scale + np.array(offset)
    return corners


def _cells(
    mask: npt.NDArray[np.bool_], offset: tuple[int, int], scale: int
) -> npt.NDArray[np.int64]:
    rows, columns = ((mask.shape[axis] - offset[axis]) // scale for axis in (0, 1))
    inner = mask[offset[0] :, offset[1] :][: max(rows, 0) * scale, : max(columns, 0) * scale]
    blocks = inner.reshape(max(rows, 0), scale, max(columns, 0), scale)
    counts: npt.NDArray[np.int64] = blocks.sum(axis=(1, 3), dtype=np.int64)
    return counts


def _box_sums(
    cells: npt.NDArray[np.int64], side: int, inset: int, wide: int
) -> npt.NDArray[np.int64]:
    """Sum a box of `side` cells, `inset` cells into each window of `wide` cells."""
    rows, columns = (max(size - wide + 1, 0) for size in cells.shape)
    table = np.pad(cells, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    upper, lower = (slice(start, start + rows) for start in (inset, inset + side))
    left, right = (slice(start, start + columns) for start in (inset, inset + side))
    sums: npt.NDArray[np.int64] = (
        table[lower, right] - table[upper, right] - table[lower, left] + table[upper, left]
    )
    return sums
