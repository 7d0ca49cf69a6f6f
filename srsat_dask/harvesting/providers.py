"""XYZ services by name, as `xyzservices` lists them: ``Esri.WorldImagery`` and some 900 more."""

import os
import re

from srsat_dask.errors import InputError
from srsat_dask.harvesting.redaction import XYZ_TOKEN
from srsat_dask.harvesting.xyz import ZOOMS, Options, XyzSource, split_options
from srsat_dask.mosaic.grid import TILE

_NEEDS_KEY = "<insert your"


def open_provider(text: str) -> XyzSource | None:
    """Return the source of a service's name with its options, or None if there is no such name.

    Parameters
    ----------
    text : str
        A name such as ``Esri.WorldImagery``, in any case, with options as after a template.

    Raises
    ------
    InputError
        The service needs a key and there is none, or its tiles are not web mercator.
    """
    import xyzservices.providers

    name, options = split_options(text)
    try:
        provider = xyzservices.providers.query_name(name)
    except ValueError:
        return None
    crs = provider.get("crs", "EPSG3857")
    if crs.replace(":", "") not in ("EPSG3857", "EPSG900913"):
        raise InputError(f"{provider.name} is in {crs}: its tiles are not those of web mercator")
    keys = [k for k, v in provider.items() if isinstance(v, str) and v.startswith(_NEEDS_KEY)]
    asked = [key for key in keys if f"{{{key}}}" in provider.url]
    if len(asked) > 1:
        raise InputError(f"{provider.name} needs {' and '.join(asked)}: give its template instead")
    if asked and not os.environ.get(XYZ_TOKEN):
        raise InputError(f"{provider.name} needs a key: set the environment variable {XYZ_TOKEN}")
    rows = "-y" if provider.get("tms") else "y"
    subdomains = tuple(provider.get("subdomains", "abc"))
    size = int(provider.get("tileSize", TILE))
    # max_zoom counts the levels of a 256 px grid, one finer than those of 512 px tiles.
    coarser = size // TILE - 1
    low, high = int(provider.get("min_zoom", ZOOMS[0])), int(provider.get("max_zoom", ZOOMS[1]))
    fixed = {**provider, **dict.fromkeys(asked, "{token}"), "r": "", "y": f"{{{rows}}}"}
    template = re.sub(
        r"\{(\w+)\}",
        lambda found: found[0] if found[1] in "zxs" else str(fixed.get(found[1], found[0])),
        provider.url,
    )
    described = Options(
        size=size,
        served=(max(low - coarser, 0), high - coarser),
        attribution=provider.attribution,
    )
    described.update(options)
    fragment = text.partition("#")[1:]
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", provider.name)
    return XyzSource(
        provider.name + "".join(fragment), safe, template, subdomains=subdomains, **described
    )
