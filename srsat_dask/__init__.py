"""Whole-scene satellite super-resolution on Dask.

A Dask graph harvests map tiles into a Zarr mosaic store, SRCNN learns from patches of its
chunks, and the trained model is mapped over whole scenes, chunk by chunk with overlap:

>>> import srsat_dask as srsat
>>> client = srsat.connect("local")                                # doctest: +SKIP
>>> scenes = srsat.search(bbox=(138.0, 35.2, 140.5, 37.1))         # doctest: +SKIP
>>> srsat.harvest(scenes, "mosaic.zarr", zoom=17)                  # doctest: +SKIP
>>> model = srsat.train("mosaic.zarr", scale=4)                    # doctest: +SKIP
>>> srsat.upscale_store("mosaic.zarr", "sr.zarr", model)           # doctest: +SKIP

Importing the package loads none of Dask, xarray and TensorFlow; each name is loaded when used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": [
            "BoundsError",
            "InputError",
            "ModelError",
            "RasterError",
            "ShardError",
            "SourceError",
            "SrsatError",
            "StoreError",
            "TokenError",
            "TrainingError",
            "UnreachableError",
        ],
        "evaluation.report": ["evaluate"],
        "harvesting.run": ["harvest", "search"],
        "harvesting.scene": ["Scene", "draw"],
        "model.file": ["ModelFile", "bundled_models", "load_model"],
        "mosaic.store": ["open_mosaic"],
        "products.cog": ["export"],
        "runtime.clusters": ["connect"],
        "training.sweep": ["sweep"],
        "training.workflow": ["train"],
        "upscaling.lazy": ["upscale"],
        "upscaling.store": ["upscale_store"],
    },
)
