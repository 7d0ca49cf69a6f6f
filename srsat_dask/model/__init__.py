"""LR <-> HR in memory: network, model file, halo, degradation, engines.

Importing this package imports neither Keras nor OpenVINO; the names below are loaded when used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bicubic": ["upsample"],
        "degradation": ["Degradation", "stretch"],
        "engines": ["Upscaler", "get_upscaler"],
        "file": [
            "ModelFile",
            "ModelSpec",
            "bundled_models",
            "load_model",
            "require_scale",
            "save_model",
        ],
        "halo": ["hr_margin", "lr_halo"],
        "inference": ["bicubic_image", "upscale_float", "upscale_image", "upscale_window"],
        "network": ["SRCNN", "BicubicUpsampling"],
        "nodata": ["fill_nodata"],
    },
)
