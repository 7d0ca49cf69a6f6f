"""Chunks of mosaics to patches to a fitted model.

Importing this package imports neither Keras nor its backend; `train` does when it is called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "presets": ["PRESETS", "Preset"],
        "workflow": ["train"],
    },
)
