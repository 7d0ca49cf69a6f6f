"""What a network is, apart from its weights."""

import json
from dataclasses import dataclass, field
from typing import Any

from srsat_dask.errors import ModelError
from srsat_dask.model.halo import hr_margin, lr_halo

SCALES = (2, 3, 4)
"""HR pixels per LR pixel that a network may be made for."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma: Recommendation ITU-R BT.601."""

MAX_PARAMETERS = 8_000_000
"""Beyond this many weights a file is not one of ours: 9-1-5 with 64-32 filters has 20,099."""


@dataclass(frozen=True)
class ModelSpec:
    """Shape and provenance of an SRCNN.

    Raises
    ------
    ModelError
        If a field is out of its range; the message names the value.
    """

    scale: int
    """HR pixels per LR pixel: 2, 3 or 4."""

    filters: tuple[int, ...] = (64, 32)
    """Channels between the convolutions."""

    kernels: tuple[int, ...] = (9, 1, 5)
    """Widths of the convolutions, in HR pixels; odd, one more than `filters`."""

    residual: bool = True
    """Whether the convolutions predict what to add to the bicubic image."""

    bands: int = 3
    """Bands of the input and of the output; red, green and blue for `luminance`."""

    luminance: bool = False
    """Whether the convolutions see and correct the luma of BT.601 alone; chroma is bicubic."""

    metadata: dict[str, Any] = field(default_factory=dict, hash=False)
    """Normalisation, degradation, training data, provenance; plain JSON values."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _whole("scale", self.scale, SCALES[-1]))
        if self.scale not in SCALES:
            raise ModelError(f"scale {self.scale} is not one of {SCALES}")
        object.__setattr__(self, "filters", _wholes("filters", self.filters, 4096))
        object.__setattr__(self, "kernels", _wholes("kernels", self.kernels, 31))
        object.__setattr__(self, "bands", _whole("bands", self.bands, 64))
        for name, value in (("residual", self.residual), ("luminance", self.luminance)):
            if not isinstance(value, bool):
                raise ModelError(f"{name} {value!r} is neither true nor false")
        if self.luminance and self.bands != len(LUMA):
            raise ModelError(
                f"luminance with {self.bands} bands: it takes {len(LUMA)}, red, green and blue"
            )
        if not 0 < len(self.kernels) == len(self.filters) + 1 <= 16:
            raise ModelError(
                f"{len(self.kernels)} kernels {self.kernels} with {len(self.filters)} filters "
                f"{self.filters}: there must be one kernel more than filters, and 16 at most"
            )
        hr_margin(self.kernels)
        if self.parameters > MAX_PARAMETERS:
            raise ModelError(
                f"filters {self.filters} and kernels {self.kernels} make {self.parameters} "
                f"parameters; at most {MAX_PARAMETERS} are allowed"
            )
        object.__setattr__(self, "metadata", _plain(self.metadata))

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Kernel shapes ``(kh, kw, in, out)``, first layer first."""
        ends = 1 if self.luminance else self.bands
        channels = (ends, *self.filters, ends)
        return tuple(
            (kernel, kernel, channels[layer], channels[layer + 1])
            for layer, kernel in enumerate(self.kernels)
        )

    @property
    def scales(self) -> tuple[int, ...]:
        """Scales that the weights were trained for, sorted: the metadata's ``scales``."""
        listed = self.metadata.get("scales")
        named = listed if isinstance(listed, list) else []
        return tuple(scale for scale in SCALES if scale == self.scale or scale in named)

    @property
    def margin(self) -> int:
        """HR pixels that the convolutions take off each axis."""
        return hr_margin(self.kernels)

    @property
    def halo(self) -> int:
        """LR pixels needed on each side of a core; see `srsat_dask.model.halo.lr_halo`."""
        return lr_halo(self.kernels, self.scale)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.macs_per_pixel + sum(shape[3] for shape in self.shapes)

    @property
    def macs_per_pixel(self) -> int:
        """Multiplications per HR pixel, upsampling apart: 20,000 for 9-1-5, 64-32-3."""
        return sum(kh * kw * inputs * outputs for kh, kw, inputs, outputs in self.shapes)

    @property
    def summary(self) -> str:
        """One line for people: scales, layers, what is seen, size."""
        others = ", ".join(f"×{scale}" for scale in self.scales if scale != self.scale)
        scales = f"×{self.scale} (or {others})" if others else f"×{self.scale}"
        kernels = "-".join(map(str, self.kernels))
        filters = f" with {'-'.join(map(str, self.filters))} filters" if self.filters else ""
        seen = "luma" if self.luminance else f"{self.bands} band{'s' * (self.bands > 1)}"
        kind = f"{'residual' if self.residual else 'not residual'}, {seen}"
        return f"SRCNN {scales}, {kernels}{filters}, {kind}, {self.parameters:,} parameters"

    def config(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, the arguments of `SRCNN`."""
        return {
            "scale": self.scale,
            "filters": list(self.filters),
            "kernels": list(self.kernels),
            "residual": self.residual,
            "bands": self.bands,
            "luminance": self.luminance,
            "metadata": self.metadata,
        }


def require_scale(spec: ModelSpec, scale: int) -> None:
    """Refuse a network made for other scales.

    Raises
    ------
    ModelError
        If the weights of `spec` were not trained for `scale`.
    """
    if scale not in spec.scales:
        made_for = ", ".join(map(str, spec.scales))
        raise ModelError(
            f"scale {scale} is a scale the model was not made for; it was made for {made_for}"
        )


def _whole(name: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ModelError(f"{name} {value!r} is not a whole number")
    number = value.__index__()
    if not 1 <= number <= most:
        raise ModelError(f"{name} {number} is not between 1 and {most}")
    return int(number)


def _wholes(name: str, values: object, most: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)):
        raise ModelError(f"{name} {values!r} is not a list of whole numbers")
    return tuple(_whole(name, value, most) for value in values)


def _plain(metadata: object) -> dict[str, Any]:
    # The round trip makes a saved and a fresh spec equal: tuples become lists in both.
    try:
        plain = json.loads(json.dumps(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"the metadata cannot be written as JSON: {error}") from error
    if not isinstance(plain, dict):
        raise ModelError(f"the metadata is a {type(metadata).__name__}, not a mapping")
    return plain
