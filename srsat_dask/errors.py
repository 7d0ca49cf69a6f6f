"""The exceptions a user of ``srsat_dask`` may meet.

::

    SrsatError                   every error raised on purpose
    ├── InputError               an argument or input cannot be used (exit status 2)
    │   ├── BoundsError          a box, zoom, scale or window out of its range
    │   ├── RasterError          an image or raster that cannot be read or used
    │   ├── StoreError           a mosaic store that is missing, foreign or of other settings
    │   └── ModelError           a model file that is missing, foreign or of another scale
    ├── SourceError              a tile service cannot serve the request (exit status 2)
    │   ├── TokenError           the token is missing, unknown or refused
    │   └── UnreachableError     no usable answer came from the service's address
    ├── ShardError               a task failed; names its shard, chains its cause (exit status 1)
    └── TrainingError            a training broke down; its checkpoint is kept (exit status 1)

Each carries ``exit_status``, what the ``srsat`` command exits with. A message names the value,
what was expected and the remedy, and never holds a token.
"""


class SrsatError(Exception):
    """Base of every error raised on purpose by ``srsat_dask``."""

    exit_status = 2


class InputError(SrsatError):
    """An argument or an input cannot be used."""


class BoundsError(InputError):
    """A box, zoom level, scale or window lies outside its range."""


class RasterError(InputError):
    """An image or raster cannot be read, or lacks what the work needs."""


class StoreError(InputError):
    """A mosaic store is missing, not one of ours, or holds other settings."""


class ModelError(InputError):
    """A model file is missing, not one of ours, or made for another scale."""


class SourceError(SrsatError):
    """A tile service cannot serve the request."""


class TokenError(SourceError):
    """The token for a tile service is missing, unknown or refused."""


class UnreachableError(SourceError):
    """No usable answer came from the address of a tile service."""


class ShardError(SrsatError):
    """A task failed; the message names its shard and the cause is chained."""

    exit_status = 1


class TrainingError(SrsatError):
    """A training cannot go on: its loss is no number, or one of its ranks is lost."""

    exit_status = 1
