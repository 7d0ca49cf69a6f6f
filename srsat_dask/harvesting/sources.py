"""The sources, and which of them a text names.

=====================================  ==========================================================
``tellus``                             Tellus v1: ASNARO-1 scenes as tiles
``traveler``, ``traveler:DATASET,…``   Tellus' Traveler API: scenes as GeoTIFFs, warped
``https://host/{z}/{x}/{y}.png``       an XYZ template; see :mod:`srsat_dask.harvesting.xyz`
``Esri.WorldImagery``                  a service that `xyzservices` knows
``FILE.tif``, ``FOLDER``               rasters, warped; see :mod:`srsat_dask.harvesting.raster`
=====================================  ==========================================================
"""

from collections.abc import Sequence
from pathlib import Path

from srsat_dask.errors import InputError
from srsat_dask.harvesting.providers import open_provider
from srsat_dask.harvesting.raster import open_rasters
from srsat_dask.harvesting.scene import Scene, TileSource
from srsat_dask.harvesting.tellus import TellusSource
from srsat_dask.harvesting.traveler import TravelerSource, open_traveler
from srsat_dask.harvesting.xyz import open_template
from srsat_dask.mosaic.grid import Box, check_box

WHOLE_WORLD: Box = (-180.0, -85.0, 180.0, 85.0)


def open_source(text: str) -> TileSource:
    """Return the source that ``--source`` names.

    Raises
    ------
    InputError
        No such source, or one that cannot work as it is written.
    """
    if text == "tellus":
        return TellusSource()
    traveler = open_traveler(text)
    if traveler is not None:
        return traveler
    if "://" in text or "{" in text:
        return open_template(text)
    place = Path(text).expanduser()
    if place.exists():
        return open_rasters(place)
    known = open_provider(text)
    if known is not None:
        return known
    raise InputError(
        f"unknown source {text!r}: give tellus, traveler, an XYZ template such as"
        " https://host/{z}/{x}/{y}.png, the name of a known service such as Esri.WorldImagery,"
        " or the path of a raster or a folder of rasters"
    )


def search(bbox: Box | None = None, source: str = "tellus") -> list[Scene]:
    """Find the scenes of a source in a box.

    Parameters
    ----------
    bbox : tuple of float, optional
        West, south, east, north in degrees (EPSG:4326). Only rasters do without: all of them.
    source : str
        ``tellus``, ``traveler``, an XYZ template, the name of a known XYZ service, or the path of
        a raster or of a folder of rasters. Tokens and addresses of services come from the
        environment: ``SRSAT_TELLUS_TOKEN``, ``SRSAT_TELLUS_URL``, ``SRSAT_TRAVELER_URL`` and
        ``SRSAT_XYZ_TOKEN``.

    Returns
    -------
    list of Scene
        The scenes, by id; empty when there are none.

    Raises
    ------
    BoundsError
        The box is not one.
    InputError
        No such source, or no box where it needs one.
    SourceError
        The service cannot be used; `TokenError` and `UnreachableError` say more.
    """
    return open_source(source).search(None if bbox is None else check_box(bbox))


def scenes_named(ids: Sequence[str], source: str = "tellus") -> list[Scene]:
    """Return the scenes of a source with the given ids.

    Raises
    ------
    InputError
        An id that the source does not know, or a source without scenes.
    """
    opened = open_source(source)
    if isinstance(opened, TravelerSource):  # it finds a scene by its id
        found = [scene for scene in map(opened.scene, ids) if scene is not None]
    else:
        found = opened.search(WHOLE_WORLD if isinstance(opened, TellusSource) else None)
    known = {scene.id: scene for scene in found}
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise InputError(f"{source} has no scene {', '.join(unknown)}: see 'srsat scenes'")
    return [known[i] for i in ids]
