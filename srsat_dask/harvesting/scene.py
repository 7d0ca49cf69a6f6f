"""A scene, and the Protocol of the sources that scenes and their tiles come from."""

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
    """One acquisition that a source gives as tiles."""

    id: str
    """The source's name of the scene, and the name of its group in a mosaic store."""
    bounds: Box
    """West, south, east, north of the footprint in degrees (EPSG:4326)."""
    acquired: datetime | None = None
    """When it was taken, with a time zone."""
    cloud_cover: float | None = None
    """Share of clouds in percent."""
    source: str = "tellus"
    """What ``--source`` takes to open the source it was found in; it holds no secret."""

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
    """Where 256 px web-mercator tiles come from; small, without secrets, safe to send to workers.

    Connections, open files and tokens belong to the process that fetches.
    """

    @property
    def name(self) -> str:
        """What ``--source`` takes to make this source again; `Scene.source` of its scenes."""

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom served."""

    @property
    def native_zoom(self) -> int | None:
        """The zoom nearest to the source's own pixels, if it knows."""

    @property
    def attribution(self) -> str | None:
        """Whom to name beside the pictures."""

    def lineage(self, scene: str) -> dict[str, object]:
        """Return what decides a scene's pixels beside zoom and tiles, as JSON values."""

    def search(self, box: Box | None) -> list[Scene]:
        """Return the scenes whose footprints touch a box (W, S, E, N in degrees, EPSG:4326).

        Parameters
        ----------
        box : tuple of float or None
            None asks for every scene, which only rasters have at hand.

        Raises
        ------
        InputError
            No box, where one is needed.
        """

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None if the source has none.

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

    Returns
    -------
    list of Scene
        `count` different scenes, in the order drawn.

    Raises
    ------
    InputError
        More asked for than there are, or fewer than one.
    """
    if not 1 <= count <= len(scenes):
        raise InputError(f"cannot draw {count} of {len(scenes)} scenes: ask for 1 to {len(scenes)}")
    return random.Random(seed).sample(sorted(scenes, key=lambda s: s.id), count)  # noqa: S311
