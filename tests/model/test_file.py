"""Model files: the same content gives the same hash, and anything else is refused."""

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.errors import ModelError
from srsat_dask.model import (
    ModelFile,
    ModelSpec,
    bundled_models,
    file,
    load_model,
    require_scale,
    save_model,
)
from srsat_dask.model.archive import MAX_BYTES, read_member


def rewrite(data: bytes, **members: bytes | None) -> bytes:
    """Return the archive with members replaced, or left out where None is given."""
    names = {"config": "config.json", "weights": "model.weights.h5", "metadata": "metadata.json"}
    changed = {names[key]: content for key, content in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = changed.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return buffer.getvalue()


def configured(data: bytes, **fields: Any) -> bytes:
    """Return the archive with fields of the model's configuration replaced."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        document = json.loads(archive.read("config.json"))
    document["config"].update(fields)
    return rewrite(data, config=json.dumps(document).encode())


def rewired(data: bytes, change: Callable[[h5py.File], None]) -> bytes:
    """Return the archive with the HDF5 file of weights changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as weights:
        change(weights)
    return rewrite(data, weights=buffer.getvalue())


def test_a_file_holds_the_whole_model(make_model: Callable[..., Any], tmp_path: Path) -> None:
    """Specification and weights come back from the file as they went in."""
    model = make_model(3, filters=(6, 4), kernels=(5, 3, 3), residual=False, metadata={"a": [1]})
    save_model(model, tmp_path / "model.keras")
    opened = ModelFile.open(str(tmp_path / "model.keras"))
    assert opened.spec == model.spec
    assert opened.spec.halo == 3
    arrays = [array for layer in opened.weights() for array in layer]
    for array, expected in zip(arrays, model.get_weights(), strict=True):
        assert array.dtype == np.float32
        assert np.array_equal(array, expected)
        assert not array.flags.writeable
    assert list(tmp_path.iterdir()) == [tmp_path / "model.keras"]


def test_the_loaded_model_computes_the_same(
    make_model: Callable[..., Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    """A model saved and loaded gives the same bits, from a file of a compiled model too."""
    model = make_model(4)
    model.compile("adam", "mse")
    lr = rng.random((1, 8, 9, 3), dtype=np.float32)
    model.save(tmp_path / "by_keras.keras")
    save_model(model, tmp_path / "by_us.keras")
    for name in ("by_keras.keras", "by_us.keras"):
        loaded = load_model(tmp_path / name)
        assert np.array_equal(loaded.predict_on_batch(lr), model.predict_on_batch(lr))


def test_the_hash_is_of_the_content(
    make_model: Callable[..., Any], model_file: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zip times and the optimizer leave the hash alone; a weight or the metadata change it."""
    model = model_file.keras_model()
    model.compile("adam", "mse")
    with zipfile.ZipFile(io.BytesIO(model_file.data)) as archive:
        later = io.BytesIO()
        with zipfile.ZipFile(later, "w") as copy:
            for name in archive.namelist():
                copy.writestr(zipfile.ZipInfo(name, (2031, 1, 1, 0, 0, 0)), archive.read(name))
    assert later.getvalue() != model_file.data
    assert ModelFile(later.getvalue()).sha256 == model_file.sha256
    assert ModelFile.open(model).sha256 == model_file.sha256
    assert ModelFile.open(make_model(4, seed=1)).sha256 != model_file.sha256
    assert ModelFile(configured(model_file.data, metadata={})).sha256 != model_file.sha256


def test_a_file_pickles_as_its_bytes(model_file: ModelFile) -> None:
    """What has been read is not shipped again, and Dask names it by its content."""
    model_file.weights()
    shipped = pickle.dumps(model_file)
    assert len(shipped) < len(model_file.data) + 200
    again = pickle.loads(shipped)
    assert again == model_file
    assert again.__dask_tokenize__() == ("ModelFile", model_file.sha256)
    assert model_file.sha256[:12] in repr(again)


def test_open_takes_what_users_have(model_file: ModelFile, tmp_path: Path) -> None:
    """A model file passes through; paths and Keras models are read; other things are refused."""
    assert ModelFile.open(model_file) is model_file
    save_model(model_file, tmp_path / "model.keras")
    assert ModelFile.open(tmp_path / "model.keras") == model_file
    with pytest.raises(ModelError, match="a int is not an SRCNN"):
        ModelFile.open(3)  # type: ignore[arg-type]


def test_bundled_models_open_by_name(
    model_file: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name finds its file in the package; an unknown one lists those there are."""
    (tmp_path / "bundled").mkdir()
    save_model(model_file, tmp_path / "bundled" / "srcnn-x4.keras")
    monkeypatch.setattr(file.resources, "files", lambda _: tmp_path)
    assert bundled_models() == ("srcnn-x4",)
    assert ModelFile.open("srcnn-x4") == model_file
    with pytest.raises(ModelError, match=r"'srcnn-x9'; bundled models: srcnn-x4"):
        ModelFile.open("srcnn-x9")
    monkeypatch.setattr(file.resources, "files", lambda _: tmp_path / "nowhere")
    with pytest.raises(ModelError, match="bundled models: none"):
        ModelFile.open("srcnn-x4")


def test_a_model_says_what_it_is(make_model: Callable[..., Any]) -> None:
    """The repr of a file and of a network is one line of scale, layers, kind and size."""
    model = make_model(4, metadata={"scales": [2, 4]})
    said = "SRCNN ×4 (or ×2), 9-1-5 with 64-32 filters, residual, 3 bands, 20,099 parameters"
    assert repr(model) == f"<{said}>"
    assert repr(ModelFile.open(model)).endswith(f": {said}>")
    small = ModelSpec(3, (), (5,), residual=False, luminance=True)
    assert small.summary == "SRCNN ×3, 5, not residual, luma, 26 parameters"
    assert ModelSpec(2, (), (1,), bands=1).summary.endswith("1 band, 2 parameters")


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A missing file and a folder are refused with their path."""
    with pytest.raises(ModelError, match=r"absent\.keras: No such file"):
        ModelFile.open(tmp_path / "absent.keras")
    with pytest.raises(ModelError, match="Is a directory"):
        ModelFile.open(tmp_path)


def test_saving_is_whole_or_not_at_all(
    model_file: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write leaves the old file and no other; names and folders are checked."""
    target = tmp_path / "model.keras"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(ModelError, match="No space left"):
            save_model(model_file, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ModelError, match=r"does not end in \.keras"):
        save_model(model_file, tmp_path / "model.h5")
    with pytest.raises(ModelError, match="No such file"):
        save_model(model_file, tmp_path / "absent" / "model.keras")


def test_a_truncated_file_is_refused(model_file: ModelFile) -> None:
    """Wherever the file is cut short, one line says so."""
    size = len(model_file.data)
    for length in [0, 1, 22, 400, size // 2, size - 30, size - 1]:
        with pytest.raises(ModelError, match="not a readable") as caught:
            ModelFile(model_file.data[:length])
        assert "\n" not in str(caught.value)


@given(st.data())
def test_a_damaged_file_is_refused_or_read(model_file: ModelFile, data: st.DataObject) -> None:
    """Any byte changed anywhere gives a model or a `ModelError`, nothing else."""
    damaged = bytearray(model_file.data)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        ModelFile(bytes(damaged))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """What is not a zip archive is not a model."""
    with pytest.raises(ModelError):
        ModelFile(data)


def test_a_class_of_another_is_refused(model_file: ModelFile) -> None:
    """Lambda layers, other classes and unknown settings are refused unread."""
    for registered, module, name in [
        (None, "keras.layers", "Lambda"),
        ("evil>SRCNN", "os", "system"),
        ("srsat>BicubicUpsampling", "srsat_dask.model.network", "BicubicUpsampling"),
    ]:
        document = {"module": module, "class_name": name, "config": {"scale": 4}}
        text = json.dumps({**document, "registered_name": registered}).encode()
        with pytest.raises(ModelError, match="not a 'srsat>SRCNN'"):
            ModelFile(rewrite(model_file.data, config=text))
    with pytest.raises(ModelError, match=r"not an SRCNN's: \['dtype'\]"):
        ModelFile(configured(model_file.data, dtype={"class_name": "Lambda"}))


def test_nothing_but_the_configuration_reaches_keras(model_file: ModelFile) -> None:
    """A file whose compile settings name foreign code loads without touching them."""
    with zipfile.ZipFile(io.BytesIO(model_file.data)) as archive:
        document = json.loads(archive.read("config.json"))
    document["module"] = "no_such_module_of_mine"
    document["compile_config"] = {"loss": {"module": "os", "class_name": "abort", "config": {}}}
    foreign = ModelFile(rewrite(model_file.data, config=json.dumps(document).encode()))
    assert foreign.keras_model().spec == model_file.spec


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"[]", b"3", b'{"config": {}}', b"[" * 100_000, b"{}"]
)
def test_a_foreign_configuration_is_refused(model_file: ModelFile, text: bytes) -> None:
    """What is not a Keras configuration is refused, however deep it nests."""
    with pytest.raises(ModelError, match="not a Keras configuration"):
        ModelFile(rewrite(model_file.data, config=text))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filters": [32, 32]}, "calls for float32"),
        ({"kernels": [5, 1, 5]}, "calls for float32"),
        ({"filters": [64, 32, 3], "kernels": [9, 1, 5, 3]}, "no weights at"),
        ({"scale": 10**30}, "scale 1000"),
        ({"scale": "4"}, "scale '4'"),
        ({"filters": [4096, 4096]}, "parameters"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    model_file: ModelFile, fields: dict[str, Any], message: str
) -> None:
    """Configuration and weights must agree, within bounds."""
    with pytest.raises(ModelError, match=message):
        ModelFile(configured(model_file.data, **fields))


def test_missing_members_are_named(model_file: ModelFile) -> None:
    """An archive without configuration or weights is refused; Keras' own metadata may lack."""
    with pytest.raises(ModelError, match=r"no config\.json"):
        ModelFile(rewrite(model_file.data, config=None))
    with pytest.raises(ModelError, match=r"no model\.weights\.h5"):
        ModelFile(rewrite(model_file.data, weights=None))
    assert ModelFile(rewrite(model_file.data, metadata=None)).sha256 == model_file.sha256


FIRST = "convolutions/conv2d/vars/0"


def _external_link(weights: h5py.File) -> None:
    del weights[FIRST]
    weights[FIRST] = h5py.ExternalLink("/etc/passwd", "/x")


def _soft_link(weights: h5py.File) -> None:
    del weights[FIRST]
    weights[FIRST] = h5py.SoftLink("/convolutions/conv2d_1/vars/0")


def _external_storage(weights: h5py.File) -> None:
    shape = weights[FIRST].shape
    del weights[FIRST]
    size = 4 * int(np.prod(shape))
    weights.create_dataset(FIRST, shape, "<f4", external=[("/etc/passwd", 0, size)])


def _virtual(weights: h5py.File) -> None:
    layout = h5py.VirtualLayout(weights[FIRST].shape, "<f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", weights[FIRST].shape)
    del weights[FIRST]
    weights.create_virtual_dataset(FIRST, layout)


def _double(weights: h5py.File) -> None:
    values = weights[FIRST][()]
    del weights[FIRST]
    weights[FIRST] = values.astype(np.float64)


def _huge(weights: h5py.File) -> None:
    del weights[FIRST]
    weights.create_dataset(FIRST, (2**20, 2**20), "<f4", chunks=(64, 64), compression="gzip")


def _infinite(weights: h5py.File) -> None:
    weights[FIRST][0, 0, 0, 0] = np.inf


def _not_a_number(weights: h5py.File) -> None:
    weights["convolutions/conv2d_2/vars/1"][1] = np.nan


def _hard_link_to_nothing(weights: h5py.File) -> None:
    weights[FIRST].attrs["shape"] = (1, 1)
    del weights["convolutions/conv2d_1"]


def _object_references(weights: h5py.File) -> None:
    shape = weights[FIRST].shape
    del weights[FIRST]
    weights.create_dataset(FIRST, shape, h5py.ref_dtype)


def _text(weights: h5py.File) -> None:
    shape = weights[FIRST].shape
    del weights[FIRST]
    weights.create_dataset(FIRST, shape, h5py.string_dtype())


def _group(weights: h5py.File) -> None:
    del weights[FIRST]
    weights.create_group(FIRST)


def _nothing(weights: h5py.File) -> None:
    del weights["convolutions"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "no weights at"),
        (_soft_link, "no weights at"),
        (_external_storage, "not a plain array"),
        (_virtual, "not a plain array"),
        (_double, "are float64"),
        (_huge, r"are float32 \(1048576, 1048576\)"),
        (_infinite, "not all finite"),
        (_not_a_number, r"conv2d_2/vars/1 are not all finite"),
        (_hard_link_to_nothing, "no weights at convolutions/conv2d_1"),
        (_object_references, "are object"),
        (_text, "are object"),
        (_group, "not a plain array"),
        (_nothing, "no weights at"),
    ],
)
def test_weights_come_from_the_file_alone(
    model_file: ModelFile, change: Callable[[h5py.File], None], message: str
) -> None:
    """Links, external storage, other types, shapes and values are refused before being read."""
    with pytest.raises(ModelError, match=message):
        ModelFile(rewired(model_file.data, change))


def test_a_file_too_large_is_refused(model_file: ModelFile, tmp_path: Path) -> None:
    """Neither a large file nor a member that unpacks to one is read to its end."""
    large = tmp_path / "large.keras"
    with large.open("wb") as sparse:
        sparse.truncate(MAX_BYTES * 40)
    with pytest.raises(ModelError, match="at most 67108864"):
        ModelFile.open(large)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (MAX_BYTES + 1))
    with pytest.raises(ModelError, match=r"config\.json in the model file exceeds"):
        ModelFile(bomb.getvalue())
    weights = rewrite(model_file.data, weights=bytes(MAX_BYTES + 1))
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(weights)) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
    assert len(packed.getvalue()) < MAX_BYTES // 100
    with pytest.raises(ModelError, match=r"model\.weights\.h5 in the model file exceeds"):
        ModelFile(packed.getvalue())


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "assets/../../escaped", "C:\\escaped"])
def test_members_of_other_places_are_never_unpacked(
    model_file: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A path that leads out of the archive is not followed: nothing but two members is read."""
    buffer = io.BytesIO(model_file.data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name.replace("/escaped", f"{tmp_path}/escaped"), "x")
        archive.writestr("assets/run.py", "raise SystemExit")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("TMPDIR", str(home))
    opened = ModelFile(buffer.getvalue())
    assert opened.keras_model().spec == model_file.spec
    assert opened.sha256 == model_file.sha256
    assert sorted(tmp_path.rglob("*")) == [home]


@pytest.mark.parametrize("damage", ["encrypted", "unknown compression", "wrong checksum"])
def test_members_that_cannot_be_unpacked_are_refused(model_file: ModelFile, damage: str) -> None:
    """Flags of the archive that ask for a password, a method of another or lie are one line."""
    data = bytearray(rewrite(model_file.data))
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    for header in (local, central + 2):
        if damage == "encrypted":
            data[header + 6] |= 1
        elif damage == "unknown compression":
            data[header + 8 : header + 10] = b"\x63\x00"
        else:
            data[header + 14] ^= 1
    names = zipfile.ZipFile(io.BytesIO(model_file.data)).namelist()
    assert names[0] in {"config.json", "metadata.json"}
    with pytest.raises(ModelError, match="not a readable") as caught:
        read_member(bytes(data), names[0])
    assert "\n" not in str(caught.value)


def test_a_lambda_layer_runs_nothing(tmp_path: Path) -> None:
    """A file that Keras itself saved, with code in it, is refused with its code unread."""
    import keras

    target = str(tmp_path / "written")
    layer = keras.layers.Lambda(lambda x: (Path(target).touch(), x)[1], output_shape=(4,))
    model = keras.Sequential([keras.Input((4,)), layer])
    Path(target).unlink(missing_ok=True)  # building the model may have run it
    path = tmp_path / "evil.keras"
    model.save(path)
    with pytest.raises(ModelError, match="not a 'srsat>SRCNN'"):
        load_model(path)
    assert not Path(target).exists()


def test_the_scale_must_be_the_models(model_file: ModelFile) -> None:
    """Another scale than the model's is refused, naming both."""
    require_scale(model_file.spec, 4)
    assert model_file.at_scale(4) is model_file.at_scale(None) is model_file
    for refused in (require_scale, lambda spec, scale: model_file.at_scale(scale)):
        with pytest.raises(ModelError, match=r"scale 3 is a scale the model was not.* for 4"):
            refused(model_file.spec, 3)


def test_a_model_of_several_scales_is_taken_at_each(
    make_model: Callable[..., Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    """The same weights follow another upsampling, with another halo and hash."""
    model = make_model(4, filters=(5,), kernels=(9, 5), metadata={"scales": [2, 4], "scale": 4})
    save_model(model, tmp_path / "model.keras")
    opened = ModelFile.open(tmp_path / "model.keras")
    assert opened.spec.scales == (2, 4)
    finer = opened.at_scale(2)
    assert finer.spec == ModelSpec(2, (5,), (9, 5), metadata={"scales": [2, 4], "scale": 2})
    assert finer.spec.halo > opened.spec.halo
    assert finer.sha256 != opened.sha256
    assert finer.data == opened.at_scale(2).data
    assert finer.at_scale(4).sha256 == opened.sha256
    same = make_model(2, filters=(5,), kernels=(9, 5))
    lr = rng.random((1, 9, 10, 3), dtype=np.float32)
    loaded = load_model(tmp_path / "model.keras", scale=2)
    np.testing.assert_array_equal(loaded.predict_on_batch(lr), same.predict_on_batch(lr))
    with pytest.raises(ModelError, match=r"scale 3 .* it was made for 2, 4"):
        load_model(tmp_path / "model.keras", scale=3)


@pytest.mark.parametrize("scales", ["234", 3, None, [9, "3", None, [2]], {"2": 3}])
def test_foreign_scales_in_the_metadata_add_none(model_file: ModelFile, scales: object) -> None:
    """Only whole numbers that are scales count."""
    foreign = ModelFile(configured(model_file.data, metadata={"scales": scales}))
    assert foreign.spec.scales == (4,)


def test_files_of_before_there_was_luminance_load(model_file: ModelFile) -> None:
    """A configuration without the key is of a network of all bands."""
    with zipfile.ZipFile(io.BytesIO(model_file.data)) as archive:
        document = json.loads(archive.read("config.json"))
    del document["config"]["luminance"]
    old = ModelFile(rewrite(model_file.data, config=json.dumps(document).encode()))
    assert old.spec == model_file.spec
    assert not old.spec.luminance
    assert old.sha256 == model_file.sha256
