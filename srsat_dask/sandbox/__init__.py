"""A loopback server shaped like Tellus, both its APIs, and a landscape for it to serve.

For trying the whole pipeline without an account, and for tests that need a service to talk to:
:class:`Sandbox` serves scenes over HTTP, :func:`open_scenes` makes them of GeoTIFFs and
:func:`landscape_scenes` of a procedural landscape. It speaks HTTP and imports nothing of the rest
of the package but the errors.
"""

from srsat_dask.sandbox.landscape import landscape_scenes
from srsat_dask.sandbox.raster import open_scenes
from srsat_dask.sandbox.server import Sandbox

__all__ = ["Sandbox", "landscape_scenes", "open_scenes"]
