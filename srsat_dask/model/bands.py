"""More bands than the network takes, or one: upscalers around an upscaler."""

import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import InputError
from srsat_dask.model.bicubic import upsample
from srsat_dask.model.engines import Upscaler


class GreyUpscaler:
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

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (scale * y, scale * x, 1) for (y + 2 * halo, x + 2 * halo, 1)."""
        grey = np.ascontiguousarray(np.broadcast_to(lr, (*lr.shape[:2], self._network.bands)))
        result = self._network(grey)
        total = result[..., :1].copy()
        for band in range(1, self._network.bands):  # in one fixed order: the same bits everywhere
            total += result[..., band : band + 1]
        return total / np.float32(self._network.bands)


class ExtraBandsUpscaler:
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

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (scale * y, scale * x, bands) for (y + 2 * halo, x + 2 * halo, bands)."""
        seen = self._network.bands
        edge = self.scale * self.halo  # wider than the bicubic kernel: no edge shows in the core
        others = upsample(lr[..., seen:], self.scale)[edge:-edge, edge:-edge]
        network = self._network(np.ascontiguousarray(lr[..., :seen]))
        return np.concatenate([network, others], axis=2)


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
