"""What a model's file says of its training data, when it says it badly."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from srsat_dask.errors import ModelError
from srsat_dask.evaluation.held_out import held_out_mask
from srsat_dask.model.file import ModelFile
from srsat_dask.mosaic.inputs import ReadableScene


@pytest.mark.parametrize(
    "record", [[{}], [{"fingerprint": "f"}], [{"folder": "a"}], ["x"], {"a": 1}, 7]
)
def test_unreadable_record_of_training_data_is_an_error_of_the_model(record: Any) -> None:
    """Not a traceback, and never taken for a scene that was not seen."""
    scene = cast(ReadableScene, SimpleNamespace(name="scene", fingerprint=lambda: "f"))
    file = cast(
        ModelFile, SimpleNamespace(spec=SimpleNamespace(metadata={"training_data": record}))
    )
    with pytest.raises(ModelError, match="training data cannot be read"):
        held_out_mask(scene, file)
