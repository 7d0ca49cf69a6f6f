"""Any XYZ service: tiles at addresses that follow a template, and no scenes.

A template is an address with placeholders, in any order::

    https://host/{z}/{x}/{y}.png          columns from the west, rows from the north
    https://host/{z}/{x}/{-y}.jpg         rows from the south (TMS)
    https://{s}.host/{q}.webp             subdomains a, b, c; Bing's quadkey
    https://host/{z}/{y}/{x}?key={token}  a secret, from SRSAT_XYZ_TOKEN where the tile is fetched

What the address cannot say follows as its fragment, which never reaches the service::

    https://host/{z}/{x}/{y}@2x.png#size=512&zooms=14-20&attribution=(C) Someone

``size`` is the side of the service's tiles in pixels, 256 or 512; ``zooms`` are the levels it has
and counts as ``{z}``. A 512 px tile holds four tiles of our grid, one level finer. In place of a
template stands the name of a service in `xyzservices`, such as ``Esri.WorldImagery``.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import parse_qsl, quote, urlsplit

import mercantile
import numpy as np
import numpy.typing as npt

from srsat_dask.errors import InputError, SourceError, TokenError
from srsat_dask.harvesting import http
from srsat_dask.harvesting.once import Once
from srsat_dask.harvesting.redaction import XYZ_TOKEN, guard_logs, redact, token
from srsat_dask.harvesting.scene import Scene, TileError
from srsat_dask.mosaic.grid import MAX_ZOOM, TILE, Box, check_box
from srsat_dask.mosaic.ledger import Reason

ZOOMS = (0, 22)
"""Levels of a service that does not say which it has."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN = frozenset({"z", "x", "y", "-y", "s", "q", "token"})
_SECRET = re.compile(
    r"key$|token|signature|^sig$|secret|password|^pass|^pwd$|^auth|credential|^appcode$"
)

_Tile = npt.NDArray[np.uint8]


class Options(TypedDict, total=False):
    """What may follow a template, by the fields of `XyzSource`."""

    size: int
    served: tuple[int, int]
    attribution: str | None


# A 512 px tile takes 1 MiB; threads of one shard ask for its four quarters at about one time.
_whole: Once[tuple[str, int, int, int], _Tile | None] = Once(32)


@dataclass(frozen=True)
class XyzSource:
    """A service of tiles at addresses that follow a template."""

    name: str
    """What ``--source`` takes: the template with its options, or the name of a known service."""
    id: str
    """What the ids of its scenes begin with, from the template or the service's name."""
    template: str
    """Address with placeholders, and without any secret."""
    size: int = TILE
    """Side of the service's tiles in pixels, 256 or 512."""
    served: tuple[int, int] = ZOOMS
    """Lowest and highest level of the service, as it counts them."""
    attribution: str | None = None
    """Whom to name beside the pictures."""
    subdomains: tuple[str, ...] = ("a", "b", "c")
    """What ``{s}`` stands for in turn."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, or would carry a secret along."""
        check_template(self.template)
        if self.size not in (TILE, 2 * TILE):
            raise InputError(f"tiles of {self.size} px: size must be {TILE} or {2 * TILE}")
        if not 0 <= self.served[0] <= self.served[1] <= MAX_ZOOM:
            low, high = self.served
            raise InputError(f"zooms {low}-{high}: give LOW-HIGH within 0-{MAX_ZOOM}")

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom of our grid that the service's tiles fill."""
        finer = self.size // TILE - 1
        return self.served[0] + finer, min(self.served[1] + finer, MAX_ZOOM)

    @property
    def native_zoom(self) -> int | None:
        """None: no zoom is a service's own."""
        return None

    def lineage(self, scene: str) -> dict[str, object]:
        """Return what decides the pixels."""
        return {"source": "xyz", "template": self.template, "tile_size": self.size}

    def search(self, box: Box | None) -> list[Scene]:
        """Return one scene that fills the box (W, S, E, N in degrees, EPSG:4326).

        Raises
        ------
        InputError
            No box: the service covers the world.
        """
        if box is None:
            raise InputError(f"{self.id} has no scenes of its own: give a box with --bbox W S E N")
        checked = check_box(box)
        # The box is part of the name: a store may hold several boxes of one service.
        degrees = "_".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in checked)
        return [Scene(f"{self.id}_{degrees}", checked, source=self.name)]

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> _Tile | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None if there is none."""
        if self.size == TILE:
            return self._get(zoom, x, y)
        at = (zoom - 1, x // 2, y // 2)
        whole = _whole.get((self.template, *at), lambda: self._get(*at))
        if whole is None:
            return None
        top, left = y % 2 * TILE, x % 2 * TILE
        return whole[top : top + TILE, left : left + TILE]

    def address(self, zoom: int, x: int, y: int) -> str:
        """Return the address of one of the service's tiles, the secret still ``{token}``."""
        values = {
            "z": str(zoom),
            "x": str(x),
            "y": str(y),
            "-y": str(2**zoom - 1 - y),
            "s": self.subdomains[(x + y) % len(self.subdomains)],
            "q": mercantile.quadkey(x, y, zoom),
        }
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), self.template)

    def _get(self, zoom: int, x: int, y: int) -> _Tile | None:
        shown = self.address(zoom, x, y)
        if "{token}" not in shown:
            return self._ask(shown, shown)
        guard_logs()
        failure: SourceError
        try:
            return self._ask(shown.replace("{token}", quote(token(XYZ_TOKEN), safe="")), shown)
        except TileError as error:
            failure = TileError(redact(str(error)), error.reason)
        except SourceError as error:
            failure = type(error)(redact(str(error)))
        raise failure  # here, not above: the errors it comes from hold the address

    def _ask(self, url: str, shown: str) -> _Tile | None:
        try:
            return http.get_tile(url, None, self.size)
        except TokenError as error:
            raise TokenError(
                f"{shown} is refused (status 401 or 403): if the service asks for a key, write"
                f" {{token}} where it belongs and set {XYZ_TOKEN} to it"
            ) from error
        except TileError as error:
            if error.reason != Reason.WRONG_SIZE:
                raise
            remedy = "leave out" if self.size > TILE else "if they are 512 px, add"
            raise TileError(f"{error}: {remedy} #size=512 in the source", error.reason) from error


def open_template(text: str) -> XyzSource:
    """Return the source that a template with its options describes.

    Raises
    ------
    InputError
        A placeholder missing or unknown, a secret in it, or an option that is none.
    """
    template, options = split_options(text)
    check_template(template)
    # The host may hold {s}, which is no part of a name.
    host = re.sub(r"[^A-Za-z0-9.-]+", "", _PLACEHOLDER.sub("", urlsplit(template).netloc))
    digest = hashlib.sha256(template.encode()).hexdigest()[:8]
    return XyzSource(text, f"{host.strip('.-') or 'xyz'}-{digest}", template, **options)


def check_template(template: str) -> None:
    """Refuse a template that lacks a placeholder, or holds a secret.

    Raises
    ------
    InputError
        With the remedy, and without the secret.
    """
    try:
        parts = urlsplit(template)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise InputError("the XYZ template is no address: check its host") from None
    remedy = f"write {{token}} in its place and set the environment variable {XYZ_TOKEN}"
    if "@" in parts.netloc:
        raise InputError(f"the XYZ template holds a user's name or password: {remedy}")
    for name, value in query:
        plain = re.sub(r"[^a-z]", "", name.lower())
        if _SECRET.search(plain) and value and not _PLACEHOLDER.search(value):
            raise InputError(
                f"the XYZ template's parameter {name!r} looks like a secret, which would end up"
                f" in the store: {remedy}"
            )
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError("an XYZ template begins with https:// or http:// and a host")
    names = _PLACEHOLDER.findall(template)
    unknown = sorted(set(names) - _KNOWN)
    if unknown:
        said = ", ".join(f"{{{name}}}" for name in unknown)
        raise InputError(f"the XYZ template has unknown {said}: use {{z}} {{x}} {{y}} or {{-y}}")
    if "q" not in names and not ({"z", "x"} <= set(names) and {"y", "-y"} & set(names)):
        raise InputError("an XYZ template needs {z}, {x} and {y} (or {-y}, or {q} alone)")
    if "token" in names and not os.environ.get(XYZ_TOKEN):
        raise InputError(f"the XYZ source needs a key: set the environment variable {XYZ_TOKEN}")


def split_options(text: str) -> tuple[str, Options]:
    """Return a source's text before ``#``, and the options after it.

    Raises
    ------
    InputError
        An option that is none, or without its value.
    """
    before, _, fragment = text.partition("#")
    options: Options = {}
    for name, value in parse_qsl(fragment, keep_blank_values=True):
        zooms = re.fullmatch(r"(\d+)-(\d+)", value)
        if name == "size" and value.isdecimal():
            options["size"] = int(value)
        elif name == "zooms" and zooms:
            options["served"] = (int(zooms[1]), int(zooms[2]))
        elif name == "attribution" and value:
            options["attribution"] = value
        else:
            raise InputError(
                f"option {name}={value} of the XYZ source: use #size=512, zooms=LOW-HIGH and"
                " attribution=TEXT, with & between them"
            )
    return before, options
