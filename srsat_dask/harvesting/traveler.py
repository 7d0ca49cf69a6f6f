"""Tellus' Traveler API: scenes are Cloud-Optimized GeoTIFFs, read window by window.

The API has no tiles. It tells a presigned address of a scene's file; GDAL reads the blocks under
a tile from there, and they are warped to the tile grid as those of a local file. The address is
asked for with the Bearer token and read without it. It expires, is renewed when it has, and is a
secret as long as it lives: it stays in the process that asked for it.
"""

import os
from dataclasses import dataclass, field

import dask
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError

from srsat_dask.errors import (
    InputError,
    RasterError,
    SourceError,
    TokenError,
    UnreachableError,
)
from srsat_dask.harvesting import http, traveler_api, warping
from srsat_dask.harvesting.once import Once
from srsat_dask.harvesting.redaction import guard_logs
from srsat_dask.harvesting.scene import Scene, TileError
from srsat_dask.harvesting.traveler_api import RemoteFile
from srsat_dask.mosaic.grid import Box, check_box
from srsat_dask.mosaic.ledger import Reason

URL = "SRSAT_TRAVELER_URL"
"""Environment variable that holds the service's address."""

DEFAULT_URL = "https://www.tellusxdp.com"

GDAL_HTTP = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # a presigned address lists nothing
    "CPL_VSIL_CURL_USE_HEAD": "NO",  # it is signed for GET
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_UNSAFESSL": "NO",
    "GDAL_HTTP_NETRC": "NO",  # no credentials but those of the address
    "GDAL_HTTP_BEARER": "",
}
"""How GDAL asks: times in seconds, the lowest speed in bytes per second."""

_files: Once[tuple[str, tuple[str, ...], str], RemoteFile] = Once(4096)
_addresses: Once[tuple[str, RemoteFile], str] = Once(256)


def configured_url() -> str:
    """Return the address from the environment, else Dask's configuration, else the default."""
    url = os.environ.get(URL) or dask.config.get("srsat.traveler.url", DEFAULT_URL)
    return str(url).rstrip("/")


@dataclass(frozen=True)
class TravelerSource:
    """The Traveler API at an address, all its datasets or some."""

    datasets: tuple[str, ...] = ()
    """Ids of the datasets to search; none stands for all."""
    url: str = field(default_factory=configured_url)
    """Address without a path, such as ``https://www.tellusxdp.com``."""

    @property
    def name(self) -> str:
        """What ``--source`` takes: ``traveler``, or ``traveler:DATASET,DATASET``."""
        return ":".join(["traveler", *([",".join(self.datasets)] if self.datasets else [])])

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom that rasters are warped to."""
        return warping.ZOOMS

    @property
    def native_zoom(self) -> int | None:
        """None: a scene's pixels are known once its file is open."""
        return None

    @property
    def attribution(self) -> str | None:
        """None: the service does not say."""
        return None

    def lineage(self, scene: str) -> dict[str, object]:
        """Return what decides the pixels: the file, by the ids of the service."""
        file = self._file(scene)
        return {
            "source": "traveler",
            "dataset": file.dataset,
            "file": file.id,
            "file_name": file.name,
            "file_bytes": file.size,
            "resampling": warping.METHOD,
        }

    def search(self, box: Box | None) -> list[Scene]:
        """Return the scenes in a box (W, S, E, N in degrees, EPSG:4326) that have a GeoTIFF.

        Raises
        ------
        InputError
            No box.
        TokenError
            No token in the environment, or it is refused.
        SourceError
            Another answer than the API's; `UnreachableError` if there is none.
        """
        if box is None:
            raise InputError("traveler needs a box or ids: give --bbox W S E N or --scene ID")
        return traveler_api.search(self.url, self._datasets(), check_box(box), self.name)

    def scene(self, id_: str) -> Scene | None:
        """Return the scene of an id that has a GeoTIFF, or None; nothing else is searched.

        Raises
        ------
        TokenError
            No token, or it is refused by every dataset that could hold the scene.
        SourceError
            Another answer than the API's; `UnreachableError` if there is none.
        """
        try:
            file = self._file(id_)
        except InputError:
            return None
        return traveler_api.scene(self.url, file.dataset, id_, self.name)

    def fetch(self, scene: str, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        """Return one tile as RGBA, uint8 (256, 256, 4), or None outside the footprint.

        Raises
        ------
        TileError
            The file cannot be read, nor with a new address; or the service does not answer.
        TokenError
            The token is refused.
        """
        guard_logs()
        try:
            return self._fetch(self._file(scene), zoom, x, y)
        except (TileError, TokenError):
            raise
        except UnreachableError as error:
            raise TileError(str(error), Reason.NO_ANSWER) from error
        except SourceError as error:
            raise TileError(str(error)) from error

    def _fetch(self, file: RemoteFile, zoom: int, x: int, y: int) -> npt.NDArray[np.uint8] | None:
        key = (self.url, file)
        said = ""
        for _ in range(2):
            address = _addresses.get(key, lambda: traveler_api.download_url(self.url, file))
            http.wait_turn()
            try:
                with (
                    rasterio.Env(**GDAL_HTTP),
                    warping.pool.borrow(f"/vsicurl/{address}", zoom) as warper,
                ):
                    return warper.tile(x, y)
            except RasterError as error:
                said = str(error)
                break
            except (RasterioError, OSError):
                # Most likely the address has expired. What GDAL says may hold it.
                said = "cannot be read, nor with a new address"
            _addresses.forget(key, address)
        raise TileError(f"{file.name} {said}")

    def _datasets(self) -> list[str]:
        return list(self.datasets) or traveler_api.datasets(self.url)

    def _file(self, scene: str) -> RemoteFile:
        return _files.get((self.url, self.datasets, scene), lambda: self._find(scene))

    def _find(self, scene: str) -> RemoteFile:
        refusal: TokenError | None = None
        for dataset in self._datasets():
            try:
                file = traveler_api.geotiff(self.url, dataset, scene)
            except TokenError as error:  # some datasets ask for a contract
                refusal = error
                continue
            if file is not None:
                return file
        if refusal is not None:
            raise refusal
        raise InputError(f"{self.name} has no scene {scene} with a GeoTIFF: see 'srsat scenes'")


def open_traveler(text: str) -> TravelerSource | None:
    """Return the source of ``traveler`` or ``traveler:DATASET,DATASET``, or None for other text."""
    kind, colon, ids = text.partition(":")
    if kind != "traveler":
        return None
    datasets = tuple(each.strip() for each in ids.split(",") if each.strip())
    if colon and not datasets:
        raise InputError("traveler: names no dataset: give traveler:DATASET or traveler")
    return TravelerSource(datasets)
