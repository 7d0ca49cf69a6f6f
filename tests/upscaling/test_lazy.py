"""Lazy upscaling: no seams, the right ground, nothing computed that is not asked for."""

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srsat_dask.errors import InputError, RasterError
from srsat_dask.model import engines
from srsat_dask.model.engines import get_upscaler
from srsat_dask.model.file import ModelFile
from srsat_dask.model.inference import upscale_image
from srsat_dask.mosaic.georeference import Georeference
from srsat_dask.upscaling.lazy import upscale

MakeModel = Callable[..., Any]

NETWORKS = [
    (2, (9, 1, 5), True),
    (3, (9, 1, 5), True),
    (4, (9, 1, 5), True),
    (4, (9, 1, 5), False),
    (4, (9, 5, 5), True),
    (3, (5, 3, 3), True),
    (2, (3, 3), False),
]
RAGGED = ((1, 17, 2, 30, 1), (23, 1, 1, 20))


@pytest.fixture(scope="module")
def files(make_model: MakeModel) -> dict[tuple[Any, ...], ModelFile]:
    """Return a model with random weights for each network."""
    return {
        (scale, kernels, residual): ModelFile.open(
            make_model(
                scale, kernels=kernels, filters=(12, 8)[: len(kernels) - 1], residual=residual
            )
        )
        for scale, kernels, residual in NETWORKS
    }


def image_of(pixels: npt.NDArray[Any], chunks: Any = None, **coords: Any) -> xr.DataArray:
    data = da.from_array(pixels, chunks=((pixels.shape[0],), *chunks) if chunks else -1)
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords)


def by_keras(file: ModelFile, pixels: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Push a whole image in [0, 1] through the Keras network at once: the oracle."""
    halo, scale = file.spec.halo, file.spec.scale
    padded = np.pad(pixels, ((0, 0), (halo, halo), (halo, halo)), mode="symmetric")
    result = np.asarray(file.keras_model()(padded.transpose(1, 2, 0)[None]))[0]
    cut = scale * halo - file.spec.margin // 2
    return result[cut : result.shape[0] - cut, cut : result.shape[1] - cut].transpose(2, 0, 1)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_chunks_equal_the_whole_image_at_once(
    network: tuple[Any, ...],
    engine: str,
    files: dict[tuple[Any, ...], ModelFile],
    rng: np.random.Generator,
) -> None:
    """Ragged and one-pixel chunks, random weights: 1e-5 before rounding."""
    file = files[network]
    pixels = rng.random((3, 51, 45), dtype=np.float32)
    chunked = upscale(image_of(pixels, RAGGED), file, engine=engine)
    assert chunked.chunks == tuple(
        tuple(side * n for n in sides)
        for side, sides in zip((1, file.spec.scale, file.spec.scale), ((3,), *RAGGED), strict=True)
    )
    np.testing.assert_allclose(chunked.values, by_keras(file, pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_eight_bits_do_not_depend_on_the_chunks(
    network: tuple[Any, ...], files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """After rounding every pixel is the same, whatever the chunks, and that of the whole image."""
    file = files[network]
    pixels = rng.integers(0, 256, (3, 51, 45), dtype=np.uint8)
    whole = upscale_image(pixels.transpose(1, 2, 0), get_upscaler(file, "openvino"))
    for chunks in (RAGGED, ((51,), (45,)), ((26, 25), (15, 15, 15))):
        result = upscale(image_of(pixels, chunks), file, engine="openvino").values
        np.testing.assert_array_equal(result, whole.transpose(2, 0, 1))


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_halo_is_exactly_as_wide_as_the_network_looks(
    network: tuple[Any, ...], files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """A pixel one halo away from a chunk changes it; with the halo one less it would not be read.

    A pixel one further away changes nothing, so the halo is not too wide either.
    """
    file = files[network]
    pixels = rng.random((3, 40, 40), dtype=np.float32)
    before = upscale(image_of(pixels), file).values
    for distance, seen in ((file.spec.halo, True), (file.spec.halo + 1, False)):
        changed = pixels.copy()
        changed[:, 19 + distance, :] += 1
        after = upscale(image_of(changed), file).values
        first_rows = slice(0, 20 * file.spec.scale)
        assert (before[:, first_rows] != after[:, first_rows]).any() == seen


def test_halo_one_less_shows_seams(
    files: dict[tuple[Any, ...], ModelFile],
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks whose outermost halo pixels are lost differ from the whole."""
    file = files[4, (9, 1, 5), True]
    pixels = rng.random((3, 40, 40), dtype=np.float32)
    whole = upscale(image_of(pixels), file).values
    from srsat_dask.model import inference

    honest = inference._seen

    def one_less(lr: npt.NDArray[Any], valid: Any, upscaler: Any) -> npt.NDArray[Any]:
        return np.pad(honest(lr, valid, upscaler)[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), "edge")

    monkeypatch.setattr(inference, "_seen", one_less)
    seamed = upscale(image_of(pixels, ((20, 20), (20, 20))), file)
    assert np.abs(seamed.values - whole)[:, 40:120, 40:120].max() > 1e-3


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_chunks_and_mask_equal_the_whole(
    data: st.DataObject, files: dict[tuple[Any, ...], ModelFile]
) -> None:
    """Property: valid pixels equal those of the whole masked image, the others are 0."""
    file = files[data.draw(st.sampled_from(NETWORKS))]
    height, width = data.draw(st.integers(6, 40)), data.draw(st.integers(6, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    pixels = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    valid = rng.random((height, width)) < data.draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))

    def chunks(side: int) -> tuple[int, ...]:
        cuts = data.draw(st.sets(st.integers(1, side - 1), max_size=4))
        return tuple(int(n) for n in np.diff([0, *sorted(cuts), side]))

    image = image_of(pixels, (chunks(height), chunks(width)), valid=(("y", "x"), valid))
    result = upscale(image, file, engine="openvino")
    whole = upscale_image(pixels.transpose(1, 2, 0), get_upscaler(file, "openvino"), valid)
    np.testing.assert_array_equal(result.values, whole.transpose(2, 0, 1))
    mask = np.kron(valid, np.ones((file.spec.scale,) * 2)) != 0
    np.testing.assert_array_equal(result.coords["valid"].values != 0, mask)


def test_missing_pixel_changes_nothing_beyond_the_receptive_field(
    files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """One NaN stays one missing pixel, and pixels out of its reach are those of the full image."""
    file = files[4, (9, 1, 5), True]
    pixels = rng.random((3, 40, 40), dtype=np.float32)
    full = upscale(image_of(pixels), file).values
    pixels[1, 20, 20] = np.nan
    result = upscale(image_of(pixels, ((13, 27), (21, 19))), file).values
    missing = np.isnan(result)
    assert missing[:, 80:84, 80:84].all()
    assert missing.sum() == 3 * 16
    reach = file.spec.halo
    far = np.ones((160, 160), dtype=bool)
    far[4 * (20 - reach) : 4 * (21 + reach), 4 * (20 - reach) : 4 * (21 + reach)] = False
    np.testing.assert_array_equal(result[:, far], full[:, far])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_nodata_value_is_kept_out_and_put_back(
    dtype: str, files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """What lies under nodata changes no other pixel, and the value marks its place again."""
    file = files[2, (9, 1, 5), True]
    pixels = rng.integers(1, 200, (3, 30, 30)).astype(dtype)
    hole = np.zeros((30, 30), dtype=bool)
    hole[10:14, 5:25] = True
    results = []
    for nodata in (0, 255):
        holed = pixels.copy()
        holed[:, hole] = nodata
        image = image_of(holed, ((15, 15), (11, 19))).rio.write_nodata(nodata)
        result = upscale(image, file).values
        finer = np.kron(hole, np.ones((2, 2))) != 0
        assert (result[:, finer] == nodata).all()
        results.append(result[:, ~finer])
    np.testing.assert_array_equal(*results)


def test_uint16_keeps_its_range(
    files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """Sixteen bits scaled by a range of one's own equal the same values as floats."""
    file = files[4, (9, 1, 5), True]
    pixels = rng.integers(1000, 4000, (3, 20, 20), dtype=np.uint16)
    result = upscale(image_of(pixels), file, value_range=(0, 4000)).values
    as_float = upscale(image_of(pixels / np.float32(4000)), file).values
    assert result.dtype == np.uint16
    expected = np.clip(np.rint(as_float * np.float32(4000)), 0, 65535)
    assert np.abs(result - expected.astype(np.int64)).max() <= 1


TRANSFORMS = {
    "north-up": Affine(2.0, 0, 500_000, 0, -2.0, 4_000_000),
    "south-up": Affine(2.0, 0, 500_000, 0, 2.0, 4_000_000),
    "non-square": Affine(0.5, 0, 500_000, 0, -1.5, 4_000_000),
    "rotated": Affine.translation(500_000, 4_000_000) @ Affine.rotation(17) @ Affine.scale(3, -2),
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_result_lies_on_the_same_ground(
    name: str, scale: int, files: dict[tuple[Any, ...], ModelFile]
) -> None:
    """Exactly scale times the size, corners equal to 1e-9 relative, CRS and attributes kept."""
    ground = Georeference("EPSG:32654", TRANSFORMS[name], 21, 34)
    image = image_of(np.zeros((3, 21, 34), np.uint8), **ground.coordinates())
    image = image.assign_attrs(sensor="ASNARO-1").rename("scene").assign_coords(band=[1, 2, 3])
    image = image.rio.write_crs(ground.crs).rio.write_transform(ground.transform)
    result = upscale(image, files[scale, (9, 1, 5), True])
    assert (result.sizes["y"], result.sizes["x"]) == (21 * scale, 34 * scale)
    assert result.rio.crs.to_epsg() == 32654
    assert result.attrs == image.attrs
    assert result.name == "scene"
    assert result.coords["band"].values.tolist() == [1, 2, 3]
    corners = [(0, 0), (34, 0), (0, 21), (34, 21)]
    transform = result.rio.transform()
    np.testing.assert_allclose(
        [transform @ (x * scale, y * scale) for x, y in corners],
        [TRANSFORMS[name] @ corner for corner in corners],
        rtol=1e-9,
    )
    for axis, values in ground.finer(scale).coordinates().items():
        np.testing.assert_allclose(result.coords[axis].values, values, rtol=1e-12)


def test_slice_of_an_image_lies_where_the_slice_lies(
    files: dict[tuple[Any, ...], ModelFile],
) -> None:
    """The kept transform of a sliced image is stale; its coordinates tell the truth."""
    ground = Georeference("EPSG:32654", TRANSFORMS["north-up"], 30, 30)
    image = image_of(np.zeros((3, 30, 30), np.uint8), **ground.coordinates())
    image = image.rio.write_crs(ground.crs).rio.write_transform(ground.transform)
    result = upscale(image.isel(y=slice(10, 20), x=slice(5, 25)), files[2, (9, 1, 5), True])
    assert result.rio.transform() @ (0, 0) == pytest.approx((500_010, 3_999_980))


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("y", "band", "x")])
def test_order_of_dimensions_is_kept(
    dims: tuple[str, ...], files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """Band first, last or between: the same pixels in the caller's order."""
    file = files[2, (9, 1, 5), True]
    image = image_of(rng.integers(0, 256, (3, 20, 24), dtype=np.uint8), ((9, 11), (24,)))
    result = upscale(image.transpose(*dims), file)
    assert result.dims == dims
    np.testing.assert_array_equal(
        result.transpose("band", "y", "x").values, upscale(image, file).values
    )


def test_four_bands_give_the_first_three(
    files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """Red, green and blue are upscaled; near infrared is left out."""
    file = files[2, (9, 1, 5), True]
    pixels = rng.integers(0, 256, (4, 20, 20), dtype=np.uint8)
    np.testing.assert_array_equal(
        upscale(image_of(pixels), file).values, upscale(image_of(pixels[:3]), file).values
    )


def test_numpy_backed_image_is_taken_too(
    files: dict[tuple[Any, ...], ModelFile], rng: np.random.Generator
) -> None:
    """An image in memory gives the same, lazily."""
    file = files[2, (9, 1, 5), True]
    pixels = rng.integers(0, 256, (3, 20, 20), dtype=np.uint8)
    result = upscale(xr.DataArray(pixels, dims=("band", "y", "x")), file)
    assert dask.is_dask_collection(result)
    np.testing.assert_array_equal(result.values, upscale(image_of(pixels), file).values)


def test_slicing_computes_only_what_it_needs(files: dict[tuple[Any, ...], ModelFile]) -> None:
    """One corner of 400 chunks reads the few input chunks around it, each once."""
    read: list[tuple[int, int]] = []

    def block(block_info: Any = None) -> npt.NDArray[np.uint8]:
        read.append(tuple(block_info[None]["chunk-location"][1:]))
        return np.zeros((3, 10, 10), np.uint8)

    pixels = da.map_blocks(
        block, chunks=((3,), (10,) * 20, (10,) * 20), dtype=np.uint8, meta=np.empty((0, 0, 0), "u1")
    )
    image = xr.DataArray(pixels, dims=("band", "y", "x"))
    result = upscale(image, files[4, (9, 1, 5), True])
    assert read == []
    result.isel(y=slice(100, 120), x=slice(100, 120)).compute(scheduler="synchronous")
    assert sorted(read) == sorted({(y, x) for y in range(1, 4) for x in range(1, 4)})


def test_graph_has_one_task_per_chunk(files: dict[tuple[Any, ...], ModelFile]) -> None:
    """No overlapped copies: the layer holds the chunks' tasks and the model."""
    pixels = da.zeros((3, 640, 640), chunks=(3, 20, 20), dtype=np.uint8)
    result = upscale(xr.DataArray(pixels, dims=("band", "y", "x")), files[4, (9, 1, 5), True])
    layer = result.data.dask.layers[result.data.name]
    assert len(layer) == 32 * 32 + 1


def test_engine_is_chosen_when_the_graph_is_built(
    files: dict[tuple[Any, ...], ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All chunks get one engine, whatever the workers would choose; an unknown one is refused."""
    image = image_of(np.zeros((3, 20, 20), np.uint8), ((9, 11), (20,)))
    file = files[4, (9, 1, 5), True]
    for usable, name in ((False, "openvino"), (True, "keras")):
        monkeypatch.setattr(engines, "gpu_usable", lambda usable=usable: usable)
        assert upscale(image, file).data.name == upscale(image, file, engine=name).data.name
    with pytest.raises(InputError, match="engine 'abacus' is unknown"):
        upscale(image, file, engine="abacus")


def test_same_inputs_have_the_same_name_and_others_another(
    files: dict[tuple[Any, ...], ModelFile],
) -> None:
    """Dask may share tasks of equal graphs, and never of different ones."""
    image = image_of(np.zeros((3, 20, 20), np.uint8))
    one, same = (upscale(image, files[4, (9, 1, 5), True]) for _ in range(2))
    other = upscale(image, files[4, (9, 5, 5), True])
    assert one.data.name == same.data.name != other.data.name


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (image_of(np.zeros((2, 20, 20), np.uint8)), RasterError, "has 2 band"),
        (image_of(np.zeros((3, 2, 20), np.uint8)), InputError, "2 × 20 px is smaller"),
        (image_of(np.zeros((3, 20, 20), np.int32)), InputError, "type int32"),
        (xr.DataArray(np.zeros((20, 20)), dims=("y", "x")), InputError, "one of bands"),
        (xr.DataArray(np.zeros((3, 20, 20)), dims=("a", "b", "c")), InputError, "no y and x"),
    ],
    ids=["bands", "size", "type", "no band", "no y and x"],
)
def test_images_that_will_not_do_are_refused(
    image: xr.DataArray,
    error: type[Exception],
    said: str,
    files: dict[tuple[Any, ...], ModelFile],
) -> None:
    """Before anything is computed, in one line."""
    with pytest.raises(error, match=said):
        upscale(image, files[4, (9, 1, 5), True])


def test_range_of_nothing_is_refused(files: dict[tuple[Any, ...], ModelFile]) -> None:
    """Black must be less than white."""
    with pytest.raises(InputError, match="black must be less than white"):
        upscale(
            image_of(np.zeros((3, 20, 20), np.uint16)),
            files[4, (9, 1, 5), True],
            value_range=(10, 10),
        )
