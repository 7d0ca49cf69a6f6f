"""The bytes of a ``.keras`` file: checked, hashed and read without Keras.

A `ModelFile` pickles as its bytes, so a scheduler ships it to workers that share no disk and
never import TensorFlow. Nothing in a file is run: a Keras model is rebuilt from its configuration
and weights, never deserialised.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srsat_dask.errors import ModelError
from srsat_dask.model.archive import (
    MAX_BYTES,
    Weights,
    read_member,
    read_spec,
    read_weights,
    with_config,
)
from srsat_dask.model.spec import ModelSpec, require_scale

if TYPE_CHECKING:
    import keras

__all__ = [
    "ModelFile",
    "ModelSpec",
    "bundled_models",
    "load_model",
    "require_scale",
    "save_model",
]


@dataclass(frozen=True)
class ModelFile:
    """A trained model as the bytes of its ``.keras`` file.

    ``ModelFile.open("srcnn-x4").spec`` says what it is, and ``.spec.metadata`` how it was made.

    Raises
    ------
    ModelError
        On construction, if the bytes are truncated, foreign, too large or inconsistent.
    """

    data: bytes
    """A zip archive with ``config.json`` and ``model.weights.h5``."""

    def __post_init__(self) -> None:
        if len(self.data) > MAX_BYTES:
            raise ModelError(f"the model file has {len(self.data)} bytes; at most {MAX_BYTES}")
        spec = self.spec
        self.__dict__["_arrays"] = read_weights(read_member(self.data, "model.weights.h5"), spec)

    def __repr__(self) -> str:
        return f"<ModelFile {self.sha256[:12]}: {self.spec.summary}>"

    def __reduce__(self) -> tuple[type["ModelFile"], tuple[bytes]]:
        return type(self), (self.data,)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name Dask keys by the content, not by the time in the zip archive."""
        return type(self).__name__, self.sha256

    @classmethod
    def open(cls, model: "str | os.PathLike[str] | keras.Model | ModelFile") -> "ModelFile":
        """Take a model in any of the forms a user may have it in.

        Parameters
        ----------
        model : str, path, keras.Model or ModelFile
            A ``.keras`` file, the name of a bundled model such as ``srcnn-x4``, or an `SRCNN`.

        Returns
        -------
        ModelFile

        Raises
        ------
        ModelError
            If there is no such file or name, or it is not a model of ours.
        """
        if isinstance(model, ModelFile):
            return model
        if isinstance(model, (str, os.PathLike)):
            return cls(_read_bytes(model))
        if not isinstance(getattr(model, "spec", None), ModelSpec):
            raise ModelError(f"a {type(model).__name__} is not an SRCNN, a file or a model's name")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            _without_optimizer(model).save(path)
            return cls(path.read_bytes())

    @cached_property
    def spec(self) -> ModelSpec:
        """Scale, layers and metadata."""
        return read_spec(read_member(self.data, "config.json"))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of configuration and weights, whenever and wherever saved."""
        digest = hashlib.sha256(json.dumps(self.spec.config(), sort_keys=True).encode())
        for kernel, bias in self.weights():
            digest.update(kernel.astype("<f4").tobytes())
            digest.update(bias.astype("<f4").tobytes())
        return digest.hexdigest()

    def weights(self) -> Weights:
        """Return the layers' arrays, first layer first.

        Returns
        -------
        list of (kernel, bias)
            float32 (kh, kw, in, out) and (out,); read-only.
        """
        arrays: Weights = self.__dict__["_arrays"]
        return list(arrays)

    def at_scale(self, scale: int | None) -> "ModelFile":
        """Return the same weights behind the upsampling of another scale.

        The convolutions see HR pixels only, so one set of weights can be trained for several
        scales; the metadata's ``scales`` say for which.

        Parameters
        ----------
        scale : int, optional
            HR pixels per LR pixel; by default the file's own.

        Raises
        ------
        ModelError
            If the weights were not trained for `scale`.
        """
        if scale is None or scale == self.spec.scale:
            return self
        require_scale(self.spec, scale)
        metadata = {**self.spec.metadata, "scale": scale}
        return ModelFile(with_config(self.data, {"scale": scale, "metadata": metadata}))

    def keras_model(self) -> "keras.Model":
        """Rebuild the `SRCNN`, uncompiled, on the current Keras backend."""
        from srsat_dask.model.network import SRCNN

        model = SRCNN(**self.spec.config())
        model.set_weights([array for layer in self.weights() for array in layer])
        return model


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that come with the package.

    Returns
    -------
    tuple of str
        Sorted; each may be given wherever a model is taken.
    """
    folder = resources.files("srsat_dask.model") / "bundled"
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(
            entry.name.removesuffix(".keras")
            for entry in folder.iterdir()
            if entry.name.endswith(".keras")
        )
    )


def load_model(model: "str | os.PathLike[str]", *, scale: int | None = None) -> "keras.Model":
    """Load an `SRCNN`, running nothing that the file brings.

    Parameters
    ----------
    model : str or path
        A ``.keras`` file or the name of a bundled model.
    scale : int, optional
        For a model trained for several scales, which one; by default the file's own.

    Returns
    -------
    keras.Model
        Uncompiled, on the current Keras backend.

    Raises
    ------
    ModelError
        If there is no such file or name, it is not a model of ours, or not of that scale.
    """
    return ModelFile.open(model).at_scale(scale).keras_model()


def save_model(model: "keras.Model | ModelFile", path: "str | os.PathLike[str]") -> None:
    """Write a ``.keras`` file, whole or not at all; the optimizer's state is left out.

    Parameters
    ----------
    model : SRCNN or ModelFile
        What to write.
    path : str or path
        Ends in ``.keras``, in an existing folder; a file there is replaced.

    Raises
    ------
    ModelError
        If the name or the folder will not do, or `model` is not one of ours.
    """
    target = Path(path)
    if target.suffix != ".keras":
        raise ModelError(f"{target} does not end in .keras")
    data = ModelFile.open(model).data
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ModelError(f"cannot write {target}: {error.strerror}") from error


def _read_bytes(model: "str | os.PathLike[str]") -> bytes:
    path = Path(model)
    if path.suffix != ".keras" and path.name == os.fspath(model) and not path.exists():
        names = bundled_models()
        if path.name not in names:
            listed = ", ".join(names) or "none"
            raise ModelError(
                f"no model is called {path.name!r}; bundled models: {listed}; "
                "or give a file that ends in .keras"
            )
        return (resources.files("srsat_dask.model") / "bundled" / f"{path.name}.keras").read_bytes()
    try:
        with path.open("rb") as file:
            # One byte over the limit is enough for the constructor to refuse it.
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"cannot read the model file {path}: {error.strerror}") from error


def _without_optimizer(model: Any) -> Any:
    # A compiled model's file also carries the optimizer's state, three times the size.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare
