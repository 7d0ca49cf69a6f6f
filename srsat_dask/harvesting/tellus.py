"""Tellus v1: ASNARO-1 scenes and their tiles, as the article uses them.

Search is ``GET /api/v1/asnaro1/scene``, a tile ``GET /ASNARO-1/{id}/{z}/{x}/{y}.png``, both with
a Bearer token. The token comes from the environment of the process that asks, and only from
there: a source that travels to workers does not hold it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, SourceError, TokenError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.scene import Scene
from srsat_dask.mosaic.grid import Box, check_box

TOKEN = "SRSAT_TELLUS_TOKEN"  # noqa: S105  the variable's name, not a token
"""Environment variable that holds the token."""

URL = "SRSAT_TELLUS_URL"
"""Environment variable that holds the service's address."""

DEFAULT_URL = "https://gisapi.tellusxdp.com"


def configured_url() -> str:
    """Return the address from the environment, else Dask's configuration, else the default."""
    url = os.environ.get(URL) or dask.config.get("srsat.tellus.url", DEFAULT_URL)
    return str(url).rstrip("/")


@dataclass(frozen=True)
class TellusSource:
    """The Tellus v1 service at an address."""

    url: str = field(default_factory=configured_url)
    """Address without a path, such as ``https://gisapi.tellusxdp.com``."""

    @property
    def name(self) -> str:
        """Name for ``--source`` and for a store's lineage."""
        return "tellus"

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom served."""
        return 9, 18

    @property
    def native_zoom(self) -> int | None:
        """None: the service does not say."""
        return None

    @property
    def attribution(self) -> str | None:
        """None: the service does not say."""
        return None

    def lineage(self, scene: str) -> dict[str, object]:
        """Return what decides the pixels: the service, whatever its address."""
        return {"source": "tellus"}

    def search(self, box: Box | None) -> list[Scene]:
        """Return the scenes in a box, by id.

        Parameters
        ----------
        box : tuple of float
            West, south, east, north in degrees (EPSG:4326).

        Raises
        ------
        InputError
            No box.
        BoundsError
            The box is not one.
        TokenError
            No token in the environment, or it is refused.
        UnreachableError
            No answer.
        SourceError
            An answer that is not a list of scenes.
        """
        if box is None:
            raise InputError("tellus needs a box or ids: give --bbox W S E N or --scene ID")
        west, south, east, north = check_box(box)
        answer = http.get(
            f"{self.url}/api/v1/asnaro1/scene",
            tellus_token(),
            {"min_lat": south, "min_lon": west, "max_lat": north, "max_lon": east},
        )
        if answer.status != 200:
            raise SourceError(f"scene search at {self.url} answered status {answer.status}")
        try:
            scenes = [_scene(record) for record in answer.json()]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SourceError(
                f"scene search at {self.url} did not answer a list of scenes: {error!r}"
            ) from error
        return sorted(scenes, key=lambda scene: scene.id)

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None if there is none."""
        return http.get_tile(f"{self.url}/ASNARO-1/{scene}/{zoom}/{x}/{y}.png", tellus_token())


def tellus_token() -> str:
    """Return the token that the environment of this process holds.

    Raises
    ------
    TokenError
        None, or one that no header may hold.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise TokenError(f"no Tellus token: set the environment variable {TOKEN}")
    # Checked here: the HTTP library's error about a header shows the header.
    if not (token.isascii() and token.isprintable()):
        raise TokenError(
            f"the token in {TOKEN} holds a character that no HTTP header may hold, such as a line"
            " break or an accent: copy it again"
        )
    return token


def _scene(record: Mapping[str, Any]) -> Scene:
    cloud_cover = record.get("cloudCover")
    return Scene(
        id=str(record["entityId"]),
        bounds=(
            float(record["min_lon"]),
            float(record["min_lat"]),
            float(record["max_lon"]),
            float(record["max_lat"]),
        ),
        acquired=_date(record.get("acquisitionDate")),
        cloud_cover=None if cloud_cover is None else float(cloud_cover),
        source="tellus",
    )


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)
