"""What is minimised and measured: the compiled Keras model of a training run.

Importing this module imports Keras and its backend.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from srsat_dask.model.bicubic import upsample
from srsat_dask.model.network import SRCNN
from srsat_dask.training.patches import Patches, PatchShape
from srsat_dask.training.presets import Preset

FLOOR = 1e-10
"""Least squared error that a PSNR is taken of: 100 dB."""

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Inputs and targets in [0, 1], and weights."""


class PSNR(keras.metrics.Metric):
    """Peak signal-to-noise ratio in dB of images in [0, 1], predictions clipped.

    Parameters
    ----------
    pooled : bool
        Take the PSNR of the error of all images of a batch together, as the article does; else
        the mean of the images' own.
    name : str
        Name of the metric.
    """

    def __init__(self, pooled: bool = False, name: str = "psnr") -> None:
        super().__init__(name=name)
        self.pooled = pooled
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of images (n, y, x, bands), weights (n, y, x) where a pixel may not count."""
        error = ops.mean(ops.square(y_true - ops.clip(y_pred, 0.0, 1.0)), axis=-1)
        weight = ops.ones_like(error) if sample_weight is None else sample_weight
        axes = (0, 1, 2) if self.pooled else (1, 2)
        squares = ops.sum(error * weight, axis=axes) / ops.maximum(ops.sum(weight, axis=axes), 1.0)
        values = -10.0 * ops.log10(ops.maximum(squares, FLOOR))
        self.total.assign_add(ops.sum(values))
        self.count.assign_add(ops.sum(ops.ones_like(values)))

    def result(self) -> Any:
        """Return the mean over all images, or over all batches when pooled, in dB."""
        return self.total / ops.maximum(self.count, 1.0)


def training_model(srcnn: SRCNN, shape: PatchShape, preset: Preset) -> keras.Model:
    """Return a compiled model that shares the SRCNN's weights and gives exactly the targets.

    The upsampled input is cropped to what the convolutions need before they run. Cropping their
    output instead gives the same pixels, for a third more work on 64 px patches.

    Parameters
    ----------
    srcnn : SRCNN
        The network to train.
    shape : PatchShape
        Its halo decides the crop; the model takes patches of any size.
    preset : Preset
        PSNR to report.

    Returns
    -------
    keras.Model
        LR (n, side, side, bands) to HR (n, size, size, bands), compiled with MSE and Adam; its
        weights are those of `srcnn`, in the same order.
    """
    radius = srcnn.spec.margin // 2
    inputs = keras.Input((None, None, srcnn.spec.bands))
    upsampled = keras.layers.Cropping2D(shape.scale * shape.halo - radius)(srcnn.upsampling(inputs))
    outputs = upsampled
    for convolution in srcnn.convolutions:
        outputs = convolution(outputs)
    if srcnn.spec.residual:
        outputs = keras.layers.Add()([outputs, keras.layers.Cropping2D(radius)(upsampled)])
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(preset.first_rate),
        loss=keras.losses.MeanSquaredError(),
        weighted_metrics=[PSNR(preset.pooled_psnr)],
    )
    return model


def seeded(srcnn: SRCNN, seed: int) -> SRCNN:
    """Give the network the first weights of a seed, without touching Keras' global one."""
    for layer, convolution in enumerate(srcnn.convolutions):
        initializer = convolution.kernel_initializer
        first = type(initializer)(**{**initializer.get_config(), "seed": seed + layer})
        convolution.kernel.assign(first(convolution.kernel.shape))
    return srcnn


def as_batch(patches: Patches) -> Batch:
    """Return patches as floats: inputs and targets in [0, 1], weights 0 or 1."""
    return (
        patches.lr.astype(np.float32) / np.float32(255),
        patches.hr.astype(np.float32) / np.float32(255),
        patches.weight.astype(np.float32),
    )


def bicubic_psnr(batches: list[Batch], shape: PatchShape, *, pooled: bool) -> float:
    """Return the PSNR in dB of plain bicubic upsampling, measured as the network's is."""
    metric = PSNR(pooled)
    inner = slice(shape.scale * shape.halo, -shape.scale * shape.halo)
    for lr, hr, weight in batches:
        images = np.stack([upsample(image, shape.scale)[inner, inner] for image in lr])
        metric.update_state(hr, images, weight)
    return float(metric.result())
