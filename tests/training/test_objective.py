"""The compiled model: the SRCNN's own output, PSNR and loss without nodata."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from srsat_dask.training.patches import Patches, PatchShape, cut
from srsat_dask.training.presets import PRESETS
from tests.conftest import texture


@pytest.fixture(scope="module")
def objective():
    """Import the module late: it brings Keras along."""
    from srsat_dask.training import objective

    return objective


def make_srcnn(**arguments):
    from srsat_dask.model import SRCNN

    model = SRCNN(**arguments)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.1, array.shape) for array in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("scale", "filters", "kernels"),
    [
        (2, (8, 4), (9, 1, 5)),
        (3, (8, 4), (9, 1, 5)),
        (4, (8, 4, 4, 5), (5, 1, 3, 1, 5)),
        (4, (), (5,)),
        (4, (8,), (1, 1)),
    ],
)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("luminance", [True, False])
def test_training_sees_the_networks_own_output(
    objective, rng, scale, filters, kernels, residual, luminance
):
    """The training model gives the SRCNN's output, cropped to the target."""
    srcnn = make_srcnn(
        scale=scale, filters=filters, kernels=kernels, residual=residual, luminance=luminance
    )
    halo = srcnn.spec.halo
    lr = rng.random((2, 6 + 2 * halo, 9 + 2 * halo, 3), dtype=np.float32)
    crop = scale * halo - srcnn.spec.margin // 2
    expected = np.asarray(srcnn(lr))[:, crop:-crop, crop:-crop]
    found = np.asarray(objective.TrainingModel(srcnn)(lr))
    assert found.shape == (2, 6 * scale, 9 * scale, 3)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_training_moves_the_srcnns_weights(objective, rng):
    """A step on the training model changes every weight of the SRCNN it was made from."""
    srcnn = make_srcnn(scale=4, filters=(8, 4))
    before = [array.copy() for array in srcnn.get_weights()]
    lr, hr, weight = batch_of(rng)
    model = objective.training_model(srcnn, PRESETS["default"])
    model.train_on_batch(lr, hr, sample_weight=weight)
    for old, new in zip(before, srcnn.get_weights(), strict=True):
        assert (old != new).any()


def batch_of(rng, images=3):
    return (
        rng.random((images, 10, 10, 3), dtype=np.float32),
        rng.random((images, 16, 16, 3), dtype=np.float32),
        np.ones((images, 16, 16), np.float32),
    )


def test_the_loss_never_sees_nodata(objective, rng):
    """Targets of weight 0 change neither loss, nor PSNR, nor a single weight."""
    lr, hr, weight = batch_of(rng)
    weight[:, 3:5, 7:] = 0
    other = np.where(weight[..., None] == 0, np.float32(0.5), hr)
    assert (other != hr).any()
    results = []
    for target in (hr, other):
        srcnn = make_srcnn(scale=4, filters=(8, 4))
        model = objective.training_model(srcnn, PRESETS["default"])
        logs = model.train_on_batch(lr, target, sample_weight=weight, return_dict=True)
        results.append((float(logs["loss"]), float(logs["psnr"]), srcnn.get_weights()))
    assert results[0][:2] == results[1][:2]
    for one, two in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_array_equal(one, two)


def test_psnr_is_the_mean_over_images(objective, rng):
    """Each image has its own PSNR, whatever the batches; predictions are clipped."""
    hr = rng.random((5, 8, 8, 3), dtype=np.float32)
    guess = (
        hr + rng.normal(0, 0.1, hr.shape).astype(np.float32) * np.arange(1, 6)[:, None, None, None]
    )
    guess = guess.astype(np.float32)
    metric = objective.PSNR()
    metric.update_state(hr[:2], guess[:2])
    metric.update_state(hr[2:], guess[2:])
    expected = np.mean(
        [
            peak_signal_noise_ratio(a, np.clip(b, 0, 1), data_range=1)
            for a, b in zip(hr, guess, strict=True)
        ]
    )
    assert float(metric.result()) == pytest.approx(expected, abs=1e-4)


def test_pooled_psnr_is_that_of_the_batch(objective, rng):
    """As in the article, the error of the whole batch is taken together."""
    hr = rng.random((4, 8, 8, 3), dtype=np.float32)
    guess = np.clip(hr + np.linspace(0, 0.3, 4, dtype=np.float32)[:, None, None, None], 0, 1)
    metric = objective.PSNR(pooled=True)
    metric.update_state(hr, guess)
    expected = peak_signal_noise_ratio(hr, guess, data_range=1)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-4)


def test_psnr_leaves_missing_pixels_out(objective, rng):
    """An image's PSNR is that of its weighted pixels; perfect images end at 100 dB."""
    hr = rng.random((1, 8, 8, 3), dtype=np.float32)
    guess = hr.copy()
    guess[:, :4] = np.clip(guess[:, :4] + 0.2, 0, 1)
    weight = np.ones((1, 8, 8), np.float32)
    weight[:, 2:] = 0
    metric = objective.PSNR()
    metric.update_state(hr, guess, weight)
    expected = peak_signal_noise_ratio(hr[:, :2], guess[:, :2], data_range=1)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-4)
    metric.reset_state()
    metric.update_state(
        hr, guess, 1 - np.pad(np.ones((1, 4, 8), np.float32), ((0, 0), (0, 4), (0, 0)))
    )
    assert float(metric.result()) == pytest.approx(100, abs=1e-3)


def test_bicubic_is_pillows(objective):
    """The bicubic PSNR of a patch is that of Pillow's own upsampling."""
    image = texture(96, 96)
    shape = PatchShape(4, 32, 3)
    valid = np.ones((96, 96), bool)
    patches = cut(image, valid, np.array([[32, 32]]), shape)
    bands = [
        np.asarray(
            Image.fromarray(patches.lr[0, ..., band].astype(np.float32)).resize(
                (56, 56), Image.Resampling.BICUBIC
            )
        )
        for band in range(3)
    ]
    upsampled = np.clip(np.stack(bands, axis=-1)[12:-12, 12:-12] / 255, 0, 1)
    expected = peak_signal_noise_ratio(patches.hr[0] / 255, upsampled, data_range=1)
    found = objective.bicubic_psnr([patches], shape, pooled=False)
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_seed_decides_the_first_weights(objective):
    """The same seed gives the same weights, another one others."""
    from srsat_dask.model import SRCNN

    one, two, three = (objective.seeded(SRCNN(4), seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


def test_pixels_become_floats(objective):
    """255 is 1.0 in the network's unit."""
    patches = Patches(
        np.full((1, 2, 2, 3), 255, np.uint8),
        np.full((1, 4, 4, 3), 51, np.uint8),
        np.ones((1, 4, 4), np.uint8),
    )
    lr, hr, weight = objective.as_batch(patches)
    assert lr.dtype == hr.dtype == weight.dtype == np.float32
    assert (lr == 1).all()
    np.testing.assert_allclose(hr, 0.2, rtol=1e-6)


def test_the_last_layer_may_learn_more_slowly(objective, rng):
    """Under sgd its first step is a tenth of the whole one, and the others' the same."""
    from dataclasses import replace

    paper = replace(PRESETS["paper"], last_layer_rate=1.0, first_rate=0.1)
    steps = []
    for preset in (paper, replace(paper, last_layer_rate=0.1)):
        srcnn = make_srcnn(scale=4, filters=(8, 4))
        before = srcnn.get_weights()
        lr, hr, weight = batch_of(np.random.default_rng(5))
        objective.training_model(srcnn, preset).train_on_batch(lr, hr, sample_weight=weight)
        steps.append([new - old for new, old in zip(srcnn.get_weights(), before, strict=True)])
    for layer, (whole, slow) in enumerate(zip(*steps, strict=True)):
        share = 0.1 if layer >= 4 else 1.0
        np.testing.assert_allclose(slow, share * whole, rtol=1e-3, atol=1e-7)


def test_first_weights_may_have_one_deviation(objective):
    """Every kernel is drawn with it, and biases are 0."""
    from srsat_dask.model import SRCNN

    srcnn = objective.seeded(SRCNN(4), 1, 0.01)
    for array in srcnn.get_weights():
        if array.ndim == 4:
            assert array.std() == pytest.approx(0.01, rel=0.1)
        else:
            assert not array.any()
