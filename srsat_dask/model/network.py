"""SRCNN behind a fixed bicubic upsampling, as a Keras 3 model for any backend.

C. Dong, C. C. Loy, K. He, X. Tang, "Image super-resolution using deep convolutional networks",
IEEE TPAMI 38 (2016). Two things differ from the paper: the upsampling is a layer, so a file holds
the whole way from LR to HR, and every convolution is *valid*, so no padding is ever learned.

Importing this module imports Keras and its backend.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from srsat_dask.model.bicubic import TAPS, phase_taps
from srsat_dask.model.spec import LUMA, ModelSpec

PACKAGE = "srsat"
"""Keras registration package of the classes below."""


@keras.saving.register_keras_serializable(PACKAGE)
class BicubicUpsampling(keras.layers.Layer):
    """Upsample by bicubic interpolation, as `srsat_dask.model.bicubic.upsample` does.

    Each output is a sum of four gathered inputs per axis in a fixed order, so a pixel has the
    same bits wherever the window lies, and the sizes may be dynamic.

    Parameters
    ----------
    scale : int
        HR pixels per LR pixel.
    **kwargs
        Those of `keras.layers.Layer`.
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.scale = scale
        first, weights = phase_taps(scale)
        self._first = first.astype(np.int32)
        self._weights = weights.astype(np.float32)

    def call(self, inputs: Any) -> Any:
        """Return (n, scale * y, scale * x, bands) for (n, y, x, bands), columns first as Pillow."""
        return self._along(self._along(inputs, 2), 1)

    def _along(self, values: Any, axis: int) -> Any:
        size = ops.shape(values)[axis]
        position = ops.arange(self.scale * size, dtype="int32")
        phase = position % self.scale
        origin = position // self.scale + ops.take(self._first, phase, axis=0)
        weights, inside = [], []
        for tap in range(TAPS):
            index = origin + tap
            # A tap beyond the edge is left out, and the others are divided by their sum.
            held = ops.clip(index, 0, size - 1)
            kept = ops.cast(ops.equal(held, index), "float32")
            inside.append(held)
            weights.append(ops.take(self._weights[:, tap], phase, axis=0) * kept)
        total = ((weights[0] + weights[1]) + weights[2]) + weights[3]
        along = [1, 1, 1, 1]
        along[axis] = -1
        terms = [
            ops.take(values, index, axis=axis)
            * ops.cast(ops.reshape(weight / total, along), values.dtype)
            for index, weight in zip(inside, weights, strict=True)
        ]
        return ((terms[0] + terms[1]) + terms[2]) + terms[3]

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Multiply the two spatial axes by the scale."""
        batch, y, x, bands = input_shape
        return batch, _times(y, self.scale), _times(x, self.scale), bands

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the layer."""
        return {**super().get_config(), "scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BicubicUpsampling":
        """Rebuild the layer; it is never trainable, whatever the configuration says."""
        return cls(**{key: value for key, value in config.items() if key != "trainable"})


@keras.saving.register_keras_serializable(PACKAGE)
class SRCNN(keras.Model):
    """LR (n, y, x, bands) in [0, 1] to HR (n, scale * y - m, scale * x - m, bands).

    ``m`` is `srsat_dask.model.halo.hr_margin` of the kernels; ``m / 2`` HR pixels are missing on
    each side. Upsample, then valid convolutions with ReLU between them and none after the last;
    neither rounded nor clipped.

    Parameters
    ----------
    scale : {2, 3, 4}
        HR pixels per LR pixel.
    filters : sequence of int
        Channels between the convolutions.
    kernels : sequence of int
        Kernel widths in HR pixels, odd, one more than `filters`.
    residual : bool
        Add the upsampled image to the output of the last convolution. Training then starts at
        bicubic, because the last layer starts near zero.
    bands : int
        Bands of the input and of the output.
    luminance : bool
        The convolutions see and correct the luma of BT.601 alone, and what they add goes to red,
        green and blue alike: chroma is bicubic.
    metadata : dict, optional
        JSON values that travel in the file: normalisation, degradation, provenance.
    **kwargs
        Those of `keras.Model`.

    Raises
    ------
    ModelError
        If an argument is out of its range; the message names the value.
    """

    def __init__(
        self,
        scale: int,
        filters: tuple[int, ...] | list[int] = (64, 32),
        kernels: tuple[int, ...] | list[int] = (9, 1, 5),
        *,
        residual: bool = True,
        bands: int = 3,
        luminance: bool = False,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        spec = ModelSpec(
            scale=scale,
            filters=tuple(filters),
            kernels=tuple(kernels),
            residual=residual,
            bands=bands,
            luminance=luminance,
            metadata={} if metadata is None else metadata,
        )
        super().__init__(**kwargs)
        self.spec = spec
        self.upsampling = BicubicUpsampling(spec.scale, name="upsampling")
        last = len(spec.kernels) - 1
        small = keras.initializers.RandomNormal(stddev=1e-3)
        self.convolutions = [
            keras.layers.Conv2D(
                shape[3],
                shape[0],
                padding="valid",
                activation=None if layer == last else "relu",
                kernel_initializer=small if layer == last and residual else "he_normal",
                name=f"convolution_{layer + 1}",
            )
            for layer, shape in enumerate(spec.shapes)
        ]
        self.build((None, None, None, spec.bands))

    def __repr__(self) -> str:
        return f"<{self.spec.summary}>"

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of how the model was made."""
        return self.spec.metadata

    def build(self, input_shape: Any) -> None:
        """Create the weights, for any number and size of images."""
        self.upsampling.build(input_shape)
        for convolution, shape in zip(self.convolutions, self.spec.shapes, strict=True):
            convolution.build((*input_shape[:-1], shape[2]))
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the HR images, without their margin."""
        values, carried = self.parted(self.upsampling(inputs))
        for convolution in self.convolutions:
            values = convolution(values)
        if carried is not None:
            radius = self.spec.margin // 2
            inner = slice(radius, -radius or None)
            values = values + carried[:, inner, inner, :]
        return values

    def parted(self, upsampled: Any) -> tuple[Any, Any]:
        """Return what the convolutions see of an upsampled image, and what is added to theirs.

        Parameters
        ----------
        upsampled : tensor (n, y, x, bands)
            In [0, 1].

        Returns
        -------
        seen : tensor (n, y, x, bands), or (n, y, x, 1) of a luminance network
        carried : tensor (n, y, x, bands) or None
            None where the convolutions make the whole image.
        """
        if not self.spec.luminance:
            return upsampled, upsampled if self.spec.residual else None
        red, green, blue = (upsampled[..., band : band + 1] * LUMA[band] for band in range(3))
        luma = (red + green) + blue
        return luma, upsampled if self.spec.residual else upsampled - luma

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Multiply the two spatial axes by the scale and take the margin off."""
        batch, y, x, _ = input_shape
        scale, margin = self.spec.scale, self.spec.margin
        return (
            batch,
            None if y is None else scale * y - margin,
            None if x is None else scale * x - margin,
            self.spec.bands,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the model, metadata included."""
        return self.spec.config()


def _times(size: int | None, scale: int) -> int | None:
    return None if size is None else size * scale
