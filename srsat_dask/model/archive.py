"""The inside of a ``.keras`` file: a zip archive of JSON and HDF5, read with suspicion.

Nothing is run and no other file is opened: the configuration is JSON, the weights are plain HDF5
arrays of the shapes that the configuration calls for, and sizes are checked before reading.
Every complaint is one line.
"""

import io
import json
import zipfile
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from srsat_dask.errors import ModelError
from srsat_dask.model.spec import ModelSpec

MAX_BYTES = 64 * 2**20
"""A larger file, or a larger member of it, is not one of ours: 9-1-5 takes 0.1 MiB."""

REGISTERED_NAME = "srsat>SRCNN"

Weights = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Kernel (kh, kw, in, out) and bias (out,) of each layer, first layer first."""


def read_member(data: bytes, name: str) -> bytes:
    """Unpack one file of the archive, reading no further than `MAX_BYTES`.

    Raises
    ------
    ModelError
        If the archive is damaged, or the member missing or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(name) as member:
            content = member.read(MAX_BYTES + 1)
    except KeyError as error:
        raise ModelError(f"not a model of ours: the file has no {name}") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"not a readable .keras file, or cut short: {_line(error)}") from error
    except Exception as error:
        # zlib.error, struct.error, LZMAError: whatever a broken archive provokes
        raise ModelError(f"not a readable .keras file: {_line(error)}") from error
    if len(content) > MAX_BYTES:
        raise ModelError(f"{name} in the model file exceeds {MAX_BYTES} bytes")
    return content


def read_spec(text: bytes) -> ModelSpec:
    """Read ``config.json``, which must be of an `SRCNN` and of nothing else.

    Raises
    ------
    ModelError
        If it is not, or a value is out of its range.
    """
    try:
        document = json.loads(text)
        name, config = document["registered_name"], document["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError("the model file's config.json is not a Keras configuration") from error
    if name != REGISTERED_NAME or not isinstance(config, dict):
        raise ModelError(f"the model file holds a {str(name)[:80]!r}, not a {REGISTERED_NAME!r}")
    unknown = sorted(set(config) - set(ModelSpec.__dataclass_fields__))
    if unknown or "scale" not in config:
        raise ModelError(f"the model file's configuration is not an SRCNN's: {unknown[:5]}")
    return ModelSpec(**config)


def with_config(data: bytes, fields: dict[str, Any]) -> bytes:
    """Return the archive with fields of the model's configuration replaced.

    Parameters
    ----------
    data : bytes
        A file that `read_spec` and `read_weights` have taken.
    fields : dict
        JSON values by name.

    Returns
    -------
    bytes
        Of no time: the same for the same arguments.
    """
    document = json.loads(read_member(data, "config.json"))
    document["config"].update(fields)
    contents = {
        "config.json": json.dumps(document).encode(),
        "model.weights.h5": read_member(data, "model.weights.h5"),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def read_weights(content: bytes, spec: ModelSpec) -> Weights:
    """Read ``model.weights.h5``: finite float32 arrays of the shapes of `spec`, read-only.

    Raises
    ------
    ModelError
        If an array is missing, of another shape or type, not finite, or not in this file.
    """
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            weights = []
            for layer, shape in enumerate(spec.shapes):
                name = "conv2d" if layer == 0 else f"conv2d_{layer}"
                arrays = f"convolutions/{name}/vars"
                kernel = _read_array(file, f"{arrays}/0", shape)
                weights.append((kernel, _read_array(file, f"{arrays}/1", shape[3:])))
            return weights
    except ModelError:
        raise
    except Exception as error:
        # HDF5 reports a broken file as OSError, KeyError, RuntimeError, TypeError...
        raise ModelError(f"the model file's weights cannot be read: {_line(error)}") from error


def _read_array(file: Any, path: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    group = file
    for part in path.split("/"):
        # A soft or external link, or external storage, would read another file.
        if not isinstance(group, h5py.Group) or not isinstance(
            group.get(part, getlink=True), h5py.HardLink
        ):
            raise ModelError(f"the model file has no weights at {path}")
        group = group[part]
    if not isinstance(group, h5py.Dataset) or group.external or group.is_virtual:
        raise ModelError(f"the model file's weights at {path} are not a plain array")
    if group.shape != shape or group.dtype != np.dtype("<f4"):
        raise ModelError(
            f"the model file's weights at {path} are {group.dtype} {group.shape}, "
            f"where the configuration calls for float32 {shape}"
        )
    array = np.ascontiguousarray(group[()], dtype=np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"the model file's weights at {path} are not all finite")
    array.flags.writeable = False
    return array


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
