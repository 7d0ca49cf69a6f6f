"""What is minimised and measured: the compiled Keras model of a training run.

Importing this module imports Keras and its backend.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from srsat_dask.model.bicubic import upsample
from srsat_dask.model.network import SRCNN
from srsat_dask.training.fit import Mean, Scores, State
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
        squares, counts = squared_sums(y_true, y_pred, sample_weight)
        if self.pooled:
            squares, counts = ops.sum(squares), ops.sum(counts)
        values = psnr(squares, counts)
        self.total.assign_add(ops.sum(values))
        self.count.assign_add(ops.sum(ops.ones_like(values)))

    def result(self) -> Any:
        """Return the mean over all images, or over all batches when pooled, in dB."""
        return self.total / ops.maximum(self.count, 1.0)


def squared_sums(y_true: Any, y_pred: Any, weight: Any = None) -> tuple[Any, Any]:
    """Return each image's squared error, predictions clipped, and the weight it was summed by.

    Parameters
    ----------
    y_true, y_pred : tensor (n, y, x, bands)
        Targets and predictions in [0, 1].
    weight : tensor (n, y, x), optional
        How much a pixel counts.
    """
    # PyTorch's trainer hands targets and weights on as the arrays that they came as.
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    error = ops.mean(ops.square(y_true - ops.clip(y_pred, 0.0, 1.0)), axis=-1)
    weight = ops.ones_like(error) if weight is None else ops.convert_to_tensor(weight)
    return ops.sum(error * weight, axis=(1, 2)), ops.sum(weight, axis=(1, 2))


def psnr(squares: Any, counts: Any) -> Any:
    """Return the PSNR in dB of `squared_sums`, of images or added up over several."""
    return -10.0 * ops.log10(ops.maximum(squares / ops.maximum(counts, 1.0), FLOOR))


class TrainingModel(keras.Model):
    """An SRCNN to be trained: the same weights, and an output of exactly the targets.

    Two things make a step faster, and change its result by rounding alone. The upsampled input is
    cropped to what the convolutions need before they run, where cropping their output would cost
    a third more on 64 px patches. And the first and the last convolution, whose three bands fill
    no vector register, run along one axis with the other axis' taps in the channels: measured on
    CPU cores, 0.21 instead of 0.13 megapixels per core-second.

    Parameters
    ----------
    srcnn : SRCNN
        The network to train; the weights are its own, in the same order.
    last_layer_rate : float
        Gradient of the last layer, as a share of what it is: under stochastic gradient descent
        its learning rate as a share of the others'.
    """

    def __init__(self, srcnn: SRCNN, last_layer_rate: float = 1.0) -> None:
        super().__init__()
        self.srcnn = srcnn
        self._last_layer_rate = last_layer_rate
        spec = srcnn.spec
        self._radius = spec.margin // 2
        self._crop = spec.scale * spec.halo - self._radius

    def call(self, inputs: Any) -> Any:
        """Return (n, size, size, bands) for LR (n, side, side, bands), of any size."""
        upsampled = _cropped(self.srcnn.upsampling(inputs), self._crop)
        values, carried = self.srcnn.parted(upsampled)
        first, *others = self.srcnn.convolutions
        if others:
            values = ops.relu(taps_in(values, first.kernel) + first.bias)
        for convolution in others[:-1]:
            values = convolution(values)
        last = others[-1] if others else first
        kernel, bias = (_slower(v, self._last_layer_rate) for v in (last.kernel, last.bias))
        values = taps_out(values, kernel) + bias
        if carried is not None:
            values = values + _cropped(carried, self._radius)
        return values


def taps_in(values: Any, kernel: Any) -> Any:
    """Convolve few channels: the taps along x go into the channels, then convolve along y.

    Parameters
    ----------
    values : tensor (n, y, x, in)
        Of any unit.
    kernel : tensor (kh, kw, in, out)
        Of a *valid* convolution.

    Returns
    -------
    tensor (n, y - kh + 1, x - kw + 1, out)
        What a convolution gives, but for rounding.
    """
    height, width, bands, filters = kernel.shape
    columns = values.shape[2] - width + 1
    taps = [values[:, :, tap : tap + columns] for tap in range(width)]
    along = ops.reshape(kernel, (height, 1, width * bands, filters))
    return ops.conv(ops.concatenate(taps, axis=-1), along)


def taps_out(values: Any, kernel: Any) -> Any:
    """Convolve into few channels: along y with the taps along x as channels, then add these up.

    Parameters and result are those of `taps_in`.
    """
    height, width, bands, filters = kernel.shape
    columns = values.shape[2] - width + 1
    along = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3)), (height, 1, bands, width * filters))
    taps = ops.conv(values, along)
    total = taps[:, :, :columns, :filters]
    for tap in range(1, width):
        total = total + taps[:, :, tap : tap + columns, tap * filters : (tap + 1) * filters]
    return total


class KerasTrainer:
    """The trainer of one process: a compiled Keras model.

    Parameters
    ----------
    srcnn : SRCNN
        The network to train, changed in place.
    preset : Preset
        Which optimizer and metric.
    validation : sequence of Patches
        Batches that the weights are judged by.
    """

    def __init__(self, srcnn: SRCNN, preset: Preset, validation: Sequence[Patches]) -> None:
        self._srcnn = srcnn
        self._model = training_model(srcnn, preset)
        # Before the first step there would be no variables to restore.
        self._model.optimizer.build(self._model.trainable_variables)
        self._validation = [as_batch(part) for part in validation]

    def step(self, patches: Patches, rate: float) -> Scores:
        """Learn from one batch at a learning rate."""
        self._model.optimizer.learning_rate = rate
        lr, hr, weight = as_batch(patches)
        logs = self._model.train_on_batch(lr, hr, sample_weight=weight, return_dict=True)
        return Scores(float(logs["loss"]), float(logs["psnr"]))

    def validate(self) -> Scores:
        """Judge the present weights by the validation patches."""
        mean = Mean()
        for lr, hr, weight in self._validation:
            logs = self._model.test_on_batch(lr, hr, sample_weight=weight, return_dict=True)
            mean.add(Scores(float(logs["loss"]), float(logs["psnr"])), len(lr))
        return mean.scores

    def state(self) -> State:
        """Return a copy of weights and optimizer."""
        variables = self._model.optimizer.variables
        copies = [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]
        return State(self._srcnn.get_weights(), copies)

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self._srcnn.set_weights(state.weights)
        for variable, value in zip(self._model.optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)


def training_model(srcnn: SRCNN, preset: Preset) -> keras.Model:
    """Return a model to train the SRCNN with, compiled with MSE, PSNR and an optimizer."""
    model = TrainingModel(srcnn, preset.last_layer_rate)
    if preset.optimizer == "adam":
        optimizer = keras.optimizers.Adam(preset.first_rate)
    else:
        optimizer = keras.optimizers.SGD(preset.first_rate, momentum=preset.momentum)
    # Keras chooses whether to compile by XLA. On TensorFlow's CPU it does not, and forcing it won
    # nothing: as many steps in a minute, within the noise, its compilation counted.
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.MeanSquaredError(),
        weighted_metrics=[PSNR(preset.pooled_psnr)],
    )
    return model


def seeded(srcnn: SRCNN, seed: int, deviation: float | None = None) -> SRCNN:
    """Give the network the first weights of a seed, without touching Keras' global one.

    Parameters
    ----------
    srcnn : SRCNN
        Changed in place, and returned.
    seed : int
        Of the kernels; biases are 0.
    deviation : float, optional
        Standard deviation of all kernels, Gaussian; else each layer's own initializer.
    """
    for layer, convolution in enumerate(srcnn.convolutions):
        initializer = convolution.kernel_initializer
        if deviation is not None:
            initializer = keras.initializers.RandomNormal(stddev=deviation)
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


def bicubic_psnr(batches: Sequence[Patches], shape: PatchShape, *, pooled: bool) -> float:
    """Return the PSNR in dB of plain bicubic upsampling, measured as the network's is."""
    metric = PSNR(pooled)
    values = []
    inner = slice(shape.scale * shape.halo, -shape.scale * shape.halo)
    for lr, hr, weight in map(as_batch, batches):
        images = np.stack([upsample(image, shape.scale)[inner, inner] for image in lr])
        metric.reset_state()
        metric.update_state(hr, images, weight)
        values.append(float(metric.result()))
    return float(np.average(values, weights=[len(patches) for patches in batches]))


def _slower(weights: Any, rate: float) -> Any:
    """Return weights of the same values, but for rounding, whose gradient is a share of theirs."""
    if rate == 1:
        return weights
    return rate * weights + ops.stop_gradient((1 - rate) * weights)


def _cropped(images: Any, pixels: int) -> Any:
    inner = slice(pixels, -pixels or None)
    return images[:, inner, inner, :]
