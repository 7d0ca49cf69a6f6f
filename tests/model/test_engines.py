"""Engines: alike, exact at every seam, thread-safe, and OpenVINO without TensorFlow."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srsat_dask import model as package
from srsat_dask.errors import InputError
from srsat_dask.model import ModelFile, ModelSpec, Upscaler, engines, get_upscaler, upsample
from srsat_dask.model.engines.keras_engine import KerasUpscaler
from srsat_dask.model.engines.tiling import choose_side, cut, origins, tile_sides

ENGINES = ("openvino", "keras")
NETWORKS = [
    (2, {"filters": (8, 6), "kernels": (9, 1, 5)}),
    (3, {"filters": (6, 5), "kernels": (9, 5, 5)}),
    (4, {"filters": (7, 4), "kernels": (5, 3, 3)}),
    (3, {"filters": (4,), "kernels": (3, 3)}),
    (4, {"filters": (4,), "kernels": (5, 1), "residual": False}),
]


def mirrored(image: np.ndarray, halo: int) -> np.ndarray:
    return np.pad(image, ((halo, halo), (halo, halo), (0, 0)), mode="symmetric")


@pytest.mark.parametrize("engine", ENGINES)
def test_windows_equal_the_whole_bit_for_bit(
    model_file: ModelFile, engine: str, rng: np.random.Generator
) -> None:
    """Ragged windows, each with its halo, give the bits of the whole image at once."""
    upscaler = get_upscaler(model_file, engine)
    scale, halo = upscaler.scale, upscaler.halo
    image = mirrored(rng.random((300, 280, 3), dtype=np.float32), halo)
    whole = upscaler(image)
    assert whole.shape == (1200, 1120, 3)
    assert whole.dtype == np.float32
    joined = np.full_like(whole, np.nan)
    ys, xs = (0, 7, 50, 200, 300), (0, 1, 33, 280)
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            window = image[y0 : y1 + 2 * halo, x0 : x1 + 2 * halo]
            joined[scale * y0 : scale * y1, scale * x0 : scale * x1] = upscaler(window)
    assert np.abs(joined - whole).max() < 1e-6
    assert np.array_equal(np.rint(joined * 255), np.rint(whole * 255))
    assert np.array_equal(joined, whole)


@pytest.mark.parametrize(("scale", "arguments"), NETWORKS)
def test_engines_agree_with_the_network_on_the_whole(
    make_model: Callable[..., Any], rng: np.random.Generator, scale: int, arguments: dict[str, Any]
) -> None:
    """Both engines give what the Keras network gives for the whole image, to 1e-5."""
    model = make_model(scale, **arguments)
    opened = ModelFile.open(model)
    halo = opened.spec.halo
    image = rng.random((150 + 2 * halo, 41 + 2 * halo, 3), dtype=np.float32)
    inner = slice(scale * halo - opened.spec.margin // 2, opened.spec.margin // 2 - scale * halo)
    expected = model.predict_on_batch(image[None])[0][inner, inner]
    for engine in ENGINES:
        upscaler = get_upscaler(opened, engine)
        assert isinstance(upscaler, Upscaler)
        assert (upscaler.scale, upscaler.halo, upscaler.bands) == (scale, halo, 3)
        np.testing.assert_allclose(upscaler(image), expected, atol=1e-5)


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    """Draw any network that the trainer can make, small."""
    layers = draw(st.integers(1, 5))
    luminance = draw(st.booleans())
    return {
        "scale": draw(st.sampled_from([2, 3, 4])),
        "kernels": tuple(draw(st.sampled_from([1, 3, 5, 7, 9])) for _ in range(layers)),
        "filters": tuple(draw(st.integers(1, 9)) for _ in range(layers - 1)),
        "residual": draw(st.booleans()),
        "luminance": luminance,
        "bands": 3 if luminance else draw(st.sampled_from([1, 2, 3, 4])),
    }


def by_definition(spec: ModelSpec, weights: Any, lr: np.ndarray) -> np.ndarray:
    """Upscale the core of an image as the definition says, in double precision."""
    upsampled = upsample(lr, spec.scale).astype(np.float64)
    luma = upsampled @ [0.299, 0.587, 0.114] if spec.luminance else upsampled
    seen = values = luma[..., None] if spec.luminance else upsampled
    for layer, (kernel, bias) in enumerate(weights):
        wide = np.lib.stride_tricks.sliding_window_view(values, kernel.shape[:2], axis=(0, 1))
        values = np.einsum("yxiab,abio->yxo", wide, kernel.astype(np.float64)) + bias
        values = values if layer == len(weights) - 1 else np.maximum(values, 0)
    inner = np.s_[spec.margin // 2 : -(spec.margin // 2) or None]
    if spec.luminance:
        correction = values if spec.residual else values - seen[inner, inner]
        values = upsampled[inner, inner] + correction
    elif spec.residual:
        values = values + upsampled[inner, inner]
    crop = spec.scale * spec.halo - spec.margin // 2
    return values[crop:-crop, crop:-crop]


@settings(max_examples=15)
@given(architectures(), st.integers(1, 40), st.integers(1, 9))
def test_engines_agree_on_every_architecture(
    make_model: Callable[..., Any], architecture: dict[str, Any], height: int, width: int
) -> None:
    """Whatever the trainer can make, both engines give the definition written out, to 1e-5."""
    opened = ModelFile.open(make_model(**architecture))
    halo = opened.spec.halo
    rng = np.random.default_rng(height)
    lr = rng.random((height + 2 * halo, width + 2 * halo, opened.spec.bands), dtype=np.float32)
    expected = by_definition(opened.spec, opened.weights(), lr)
    assert expected.shape[:2] == (opened.spec.scale * height, opened.spec.scale * width)
    for engine in ENGINES:
        found = get_upscaler(opened, engine)(lr)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_luminance_network_leaves_chroma_bicubic(
    make_model: Callable[..., Any], rng: np.random.Generator, scale: int, residual: bool
) -> None:
    """Differences of bands are those of bicubic upsampling; the luma is not."""
    model = make_model(scale, residual=residual, luminance=True)
    upscaler = get_upscaler(ModelFile.open(model), "openvino")
    lr = rng.random((14, 15, 3), dtype=np.float32)
    edge = slice(scale * upscaler.halo, -scale * upscaler.halo)
    bicubic, found = upsample(lr, scale)[edge, edge], upscaler(lr)
    np.testing.assert_allclose(np.diff(found), np.diff(bicubic), atol=1e-5)
    assert np.abs(found - bicubic).max() > 0.1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_the_halo_one_less_it_fails(
    make_model: Callable[..., Any], rng: np.random.Generator, scale: int
) -> None:
    """A pixel of the core changes with the outermost pixel of the halo, and with none beyond."""
    upscaler = get_upscaler(ModelFile.open(make_model(scale)), "openvino")
    halo = upscaler.halo
    lr = rng.random((4 + 2 * halo, 4 + 2 * halo, 3), dtype=np.float32)
    whole = upscaler(mirrored(lr, halo))
    exact = slice(scale * halo, -scale * halo)
    assert np.array_equal(upscaler(lr), whole[exact, exact])
    cropped = lr.copy()
    cropped[0] = cropped[1]
    assert not np.array_equal(upscaler(cropped), whole[exact, exact])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_smallest_core_is_one_pixel(
    model_file: ModelFile, engine: str, rng: np.random.Generator
) -> None:
    """One LR pixel comes out as scale × scale, equal to the same pixel of a larger core."""
    upscaler = get_upscaler(model_file, engine)
    halo = upscaler.halo
    image = rng.random((3 + 2 * halo, 3 + 2 * halo, 3), dtype=np.float32)
    one = upscaler(image[1:-1, 1:-1])
    assert np.array_equal(one, upscaler(image)[4:8, 4:8])


@pytest.mark.parametrize("engine", ENGINES)
def test_pieces_cover_the_output(
    model_file: ModelFile, engine: str, rng: np.random.Generator
) -> None:
    """Pieces lie side by side or hold the same where they overlap; together they are the whole."""
    upscaler = get_upscaler(model_file, engine)
    lr = rng.random((150, 140, 3), dtype=np.float32)
    expected = upscaler(lr).transpose(2, 0, 1)
    seen = np.zeros(expected.shape[1:], bool)
    for rows, columns, values in upscaler.tiles(lr):
        assert np.array_equal(values, expected[:, rows, columns])
        seen[rows, columns] = True
    assert seen.all()


def test_batches_do_not_show(model_file: ModelFile, rng: np.random.Generator) -> None:
    """A batch as for a GPU, the last one not full, gives what the other engine gives."""
    upscaler = KerasUpscaler(model_file, batch=3)
    lr = rng.random((150, 140, 3), dtype=np.float32)
    np.testing.assert_allclose(upscaler(lr), get_upscaler(model_file, "openvino")(lr), atol=1e-5)
    assert np.array_equal(upscaler(lr[40:, 60:]), upscaler(lr)[160:, 240:])


def test_threads_share_an_upscaler(model_file: ModelFile, rng: np.random.Generator) -> None:
    """Calls from many threads give what they give alone."""
    halo = model_file.spec.halo
    images = [
        rng.random((20 + 9 * n + 2 * halo, 45 + 2 * halo, 3), dtype=np.float32) for n in range(6)
    ]
    for engine in ENGINES:
        upscaler = get_upscaler(model_file, engine)
        alone = [upscaler(image) for image in images]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(upscaler, images * 3))
        for index, result in enumerate(together):
            assert np.array_equal(result, alone[index % len(images)])


def test_an_interrupted_call_leaves_nothing_running(
    model_file: ModelFile, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C in the middle of a call, or a piece not asked for, the next call is right."""
    upscaler = get_upscaler(model_file, "openvino", 2)
    image = rng.random((300, 300, 3), dtype=np.float32)
    expected = upscaler(image)
    calls = iter(range(3))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return cut(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("srsat_dask.model.engines.openvino_engine.cut", interrupted)
        with pytest.raises(KeyboardInterrupt):
            upscaler(image)
    assert np.array_equal(upscaler(image), expected)
    next(upscaler.tiles(image))
    assert np.array_equal(upscaler(image), expected)


def test_the_number_of_threads_does_not_show(
    model_file: ModelFile, rng: np.random.Generator
) -> None:
    """One thread and three give the same bits."""
    image = rng.random((70, 64, 3), dtype=np.float32)
    results = [get_upscaler(model_file, "openvino", threads)(image) for threads in (1, 3)]
    assert np.array_equal(*results)


def test_an_upscaler_is_built_once(model_file: ModelFile) -> None:
    """Equal models share one upscaler, also when many threads ask at once."""
    again = pickle.loads(pickle.dumps(model_file))
    with ThreadPoolExecutor(8) as pool:
        built = set(pool.map(lambda each: id(get_upscaler(each, "openvino", 2)), [again] * 16))
    assert built == {id(get_upscaler(model_file, "openvino", 2))}
    assert get_upscaler(model_file, "openvino", 1) is not get_upscaler(model_file, "openvino", 2)


def test_unusable_arguments_are_named(
    model_file: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown or missing engines, thread counts and shapes are refused with the value."""
    with pytest.raises(InputError, match="engine 'onnx' is unknown"):
        get_upscaler(model_file, "onnx")
    with pytest.raises(InputError, match="0 threads"):
        get_upscaler(model_file, "openvino", 0)
    for engine in ENGINES:
        upscaler = get_upscaler(model_file, engine)
        for shape in [(6, 20, 3), (20, 6, 3), (20, 20, 4), (20, 20)]:
            with pytest.raises(InputError, match="cannot be upscaled"):
                upscaler(np.zeros(shape, np.float32))
    monkeypatch.setattr(engines, "_installed", lambda name: name != "openvino")
    with pytest.raises(InputError, match="pip install openvino"):
        get_upscaler(model_file, "openvino")
    assert type(get_upscaler(model_file)).__name__ == "KerasUpscaler"


def test_auto_prefers_openvino_unless_a_gpu_is_visible(
    model_file: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that is there, not hidden and has its libraries makes `auto` take Keras."""
    monkeypatch.setattr(engines.Path, "exists", lambda _: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    find_spec = engines.importlib.util.find_spec
    wheels: list[str] = []  # as on a machine where only the CPU's TensorFlow is installed
    monkeypatch.setattr(
        engines.importlib.util,
        "find_spec",
        lambda name, *rest: object() if name in wheels else find_spec(name, *rest),
    )
    assert type(get_upscaler(model_file)).__name__ == "OpenVINOUpscaler"
    wheels.append("nvidia.cudnn")
    for devices, name in [("-1", "OpenVINO"), ("", "OpenVINO"), ("0", "Keras"), (None, "Keras")]:
        if devices is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        assert type(get_upscaler(model_file)).__name__ == f"{name}Upscaler"
    monkeypatch.setattr(engines.Path, "exists", lambda _: False)
    assert type(get_upscaler(model_file)).__name__ == "OpenVINOUpscaler"


WORKER = """
import pickle, sys
import numpy as np
import srsat_dask.model
assert not {"keras", "tensorflow", "openvino"} & set(sys.modules), "imported with the package"
from srsat_dask.model import get_upscaler, upscale_window
model = pickle.loads(open(sys.argv[1], "rb").read())
upscaler = get_upscaler(model, "openvino", 1)
pixels, valid = upscale_window(np.zeros((3, 22, 20), np.uint8), np.ones((22, 20), bool), upscaler)
frameworks = {"keras", "tensorflow", "openvino", "openvino_telemetry", "torch", "jax"}
print(pixels.shape, sorted(frameworks & set(sys.modules)))
"""


def test_an_openvino_worker_never_imports_tensorflow(model_file: ModelFile, tmp_path: Path) -> None:
    """A worker with a pickled model imports no framework, nor what would report its use."""
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model_file))
    command = [sys.executable, "-W", "error", "-c", WORKER, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(3, 40, 32) ['openvino']\n", done.stderr


def test_bicubic_shows_through_a_network_of_zeros(
    make_model: Callable[..., Any], rng: np.random.Generator
) -> None:
    """With all weights zero the residual network is bicubic upsampling."""
    model = make_model(3)
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    upscaler = get_upscaler(ModelFile.open(model), "openvino")
    image = rng.random((30, 28, 3), dtype=np.float32)
    inner = slice(3 * upscaler.halo, -3 * upscaler.halo)
    np.testing.assert_allclose(upscaler(image), upsample(image, 3)[inner, inner], atol=1e-6)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(2, 4), st.integers(1, 4))
def test_sub_tiles_cover_the_core(height: int, width: int, scale: int, lanes: int) -> None:
    """Every pixel lies in a sub-tile, and none reaches outside a core that is larger."""
    side = choose_side(height, width, tile_sides(scale), lanes)
    for size in (height, width):
        starts = origins(size, side)
        covered = np.zeros(size, bool)
        for start in starts:
            covered[start : start + side] = True
            assert start + side <= max(size, side)
        assert covered.all()
        assert len(starts) == -(-size // side)


def test_small_inputs_take_small_sub_tiles() -> None:
    """A tiny image is not padded to 512 HR pixels, and a shard is cut without waste."""
    assert choose_side(20, 20, tile_sides(4)) == 32
    assert choose_side(512, 10, tile_sides(4)) == 32
    assert choose_side(512, 512, tile_sides(4)) == 128
    assert origins(512, 128) == [0, 128, 256, 384]
    assert origins(10, 32) == [0]
    assert cut(np.ones((5, 6, 3), np.float32), 0, 0, 8).sum() == 90


def test_public_names_exist() -> None:
    """Each name of `__all__` is there."""
    for name in package.__all__:
        assert getattr(package, name) is not None
