"""A scene of a tile service, and the Protocol of the services."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, SourceError
from srsat_dask.mosaic.grid import Box
from srsat_dask.mosaic.ledger import Reason

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Scene:
    """One acquisition that a service serves as tiles."""

    id: str
    """The service's name of the scene, and the name of its group in a mosaic store."""
    bounds: Box
    """West, south, east, north of the footprint in degrees (EPSG:4326)."""
    acquired: datetime | None = None
    """When it was taken, with a time zone."""
    cloud_cover: float | None = None
    """Share of clouds in percent."""
    source: str = "tellus"
    """Name of the source it was found in."""

    def __post_init__(self) -> None:
        """Refuse an id that could leave the store or the service's path."""
        if not _SAFE_ID.fullmatch(self.id):
            raise SourceError(
                f"scene id {self.id!r} may hold letters, digits, '.', '_' and '-' only:"
                " it names a path in the store and at the service"
            )


class TileError(SourceError):
    """A tile did not come after all retries.

    Parameters
    ----------
    message : str
        Why, in a few words; without a token or a presigned address.
    reason : int
        The same for the ledger: a `Reason`, or the HTTP status.
    """

    def __init__(self, message: str, reason: int = Reason.NO_IMAGE) -> None:
        super().__init__(message)
        self.reason = int(reason)

    def __reduce__(self) -> tuple[type["TileError"], tuple[str, int]]:
        return type(self), (str(self), self.reason)


class TileSource(Protocol):
    """A service of 256 px web-mercator tiles; small, and safe to send to workers."""

    @property
    def name(self) -> str:
        """Name for ``--source`` and for a store's lineage."""

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom served."""

    def search(self, box: Box) -> list[Scene]:
        """Return the scenes whose footprints touch a box (W, S, E, N in degrees)."""

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None if the service has none.

        Raises
        ------
        TileError
            No usable answer after all retries.
        TokenError
            The service refuses the token; no further tile will come.
        """


def draw(scenes: Sequence[Scene], count: int, seed: int = 0) -> list[Scene]:
    """Draw scenes at random, the same ones for the same seed whatever their order.

    Parameters
    ----------
    scenes : sequence of Scene
        What to draw from.
    count : int
        How many.
    seed : int
        Seed of the draw.

    Raises
    ------
    InputError
        More asked for than there are, or fewer than one.
    """
    if not 1 <= count <= len(scenes):
        raise InputError(f"cannot draw {count} of {len(scenes)} scenes: ask for 1 to {len(scenes)}")
    return random.Random(seed).sample(sorted(scenes, key=lambda s: s.id), count)  # noqa: S311
