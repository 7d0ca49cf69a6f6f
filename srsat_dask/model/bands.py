"""More bands than the network takes, or one: upscalers around an upscaler."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import InputError
from srsat_dask.model.bicubic import upsample
from srsat_dask.model.engines import Upscaler
from srsat_dask.model.engines.tiling import Tile, TiledUpscaler


class GreyUpscaler(TiledUpscaler):
    """One band, shown to the network in all of its bands; the mean of what comes back.

    Parameters
    ----------
    network : Upscaler
        Of any number of bands.
    """

    bands = 1

    def __init__(self, network: Upscaler) -> None:
        self.scale, self.halo = network.scale, network.halo
        self._network = network

    def tiles(self, lr: NDArray[np.float32]) -> Iterator[Tile]:
        """Yield rows, columns and values (1, y, x) of each piece."""
        grey = np.ascontiguousarray(np.broadcast_to(lr, (*lr.shape[:2], self._network.bands)))
        for rows, columns, values in self._network.tiles(grey):
            total = values[:1].copy()
            for band in range(1, self._network.bands):  # in one fixed order: the same bits always
                total += values[band : band + 1]
            yield rows, columns, total / np.float32(self._network.bands)


class ExtraBandsUpscaler(TiledUpscaler):
    """The first bands through the network, the others by bicubic interpolation.

    Parameters
    ----------
    network : Upscaler
        Takes the first bands.
    bands : int
        All bands, more than the network's.
    """

    def __init__(self, network: Upscaler, bands: int) -> None:
        self.scale, self.halo, self.bands = network.scale, network.halo, bands
        self._network = network

    def tiles(self, lr: NDArray[np.float32]) -> Iterator[Tile]:
        """Yield rows, columns and values (bands, y, x) of each piece."""
        seen, scale, halo = self._network.bands, self.scale, self.halo
        edge = scale * halo  # wider than the bicubic kernel: no edge shows in the core
        for rows, columns, values in self._network.tiles(np.ascontiguousarray(lr[..., :seen])):
            under = tuple(
                slice(side.start // scale, side.stop // scale + 2 * halo)
                for side in (rows, columns)
            )
            others = upsample(lr[under][..., seen:], scale)[edge:-edge, edge:-edge]
            yield rows, columns, np.concatenate([values, others.transpose(2, 0, 1)])


def with_bands(network: Upscaler, bands: int) -> Upscaler:
    """Return an upscaler of any number of bands from that of a network.

    Parameters
    ----------
    network : Upscaler
        Returned as it is where it takes so many.
    bands : int
        1 is shown to the network as grey; those beyond the network's go by bicubic interpolation.

    Raises
    ------
    InputError
        More than one band, and fewer than the network takes.
    """
    if bands == network.bands:
        return network
    if bands == 1:
        return GreyUpscaler(network)
    if bands < network.bands:
        raise InputError(f"{bands} bands: the network takes {network.bands}, or one as grey")
    return ExtraBandsUpscaler(network, bands)
