"""Logs of a run: CSV, curve and TensorBoard, while it goes on and after it was interrupted."""

import csv
import math
import sys

import pytest
from PIL import Image

from srsat_dask.errors import InputError
from srsat_dask.training import logs
from srsat_dask.training.fit import Epoch
from srsat_dask.training.keeping import Keeping
from srsat_dask.training.logs import Logs

EPOCHS = [
    Epoch(steps=10 * n, loss=0.1 / n, psnr=20.0 + n, val_loss=0.1 / n, val_psnr=21.0 + n,
          learning_rate=1e-3, seconds=1.5 * n)
    for n in (1, 2, 3)
]  # fmt: skip


def rows(path):
    with path.open() as file:
        return [(int(row["epoch"]), float(row["val_psnr"])) for row in csv.DictReader(file)]


def test_each_epoch_is_a_line_at_once(tmp_path):
    """The line is in the file when the epoch is told, and an interrupted run's lines stay."""
    path = tmp_path / "out.keras"
    with Logs(path, None, [], 20.5) as told:
        told.tell(EPOCHS[:1])
        assert rows(logs.log_path(path)) == [(1, 22.0)]
        told.tell(EPOCHS[:2])
    with Logs(path, None, EPOCHS[:1], 20.5) as told:
        assert rows(logs.log_path(path)) == [(1, 22.0)]
        told.tell(EPOCHS[:2])
        assert rows(logs.log_path(path)) == [(1, 22.0), (2, 23.0)]


def test_the_curve_is_drawn_while_training(tmp_path, monkeypatch):
    """Anew after each epoch, but not more often than it may cost; a NaN is no failure."""
    monkeypatch.setattr(logs, "REDRAW", 0.0)
    path = tmp_path / "out.keras"
    with Logs(path, None, [], 20.5) as told:
        told.tell([*EPOCHS, Epoch(40, math.nan, math.nan, 0.1, 22.0, 1e-3, 9.0)])
    with Image.open(tmp_path / "out.curve.png") as curve:
        assert min(curve.size) > 400
    (tmp_path / "out.curve.png").unlink()
    monkeypatch.setattr(logs, "REDRAW", 1e9)
    with Logs(path, None, [], 20.5) as told:
        told.tell(EPOCHS)
    assert not (tmp_path / "out.curve.png").exists()


def test_tensorboard_reads_what_was_written(tmp_path):
    """Its own reader finds the scalars at their steps."""
    with Logs(None, tmp_path / "events", [], 20.5) as told:
        for n in (1, 2, 3):
            told.tell(EPOCHS[:n])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "events"))
    found.Reload()
    for tag, values in {
        "val_psnr": [22.0, 23.0, 24.0],
        "val_gain_over_bicubic": [1.5, 2.5, 3.5],
    }.items():
        events = found.Tensors(tag)
        assert [event.step for event in events] == [10, 20, 30]
        assert [event.tensor_proto.float_val[0] for event in events] == pytest.approx(values)


def test_a_missing_package_is_named(monkeypatch):
    """Before anything is trained."""
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(InputError, match=r"pip install 'srsat-dask\[tensorboard\]'"):
        Keeping(tensorboard="events")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"patience": 0}, "patience 0"),
        ({"checkpoint_minutes": 0}, "checkpoint minutes 0"),
        ({"checkpoint_minutes": math.nan}, "checkpoint minutes nan"),
        ({"model_path": "out.h5"}, "must end in .keras"),
    ],
)
def test_what_cannot_be_kept_is_refused(options, match):
    """Each mistake has its message."""
    with pytest.raises(InputError, match=match):
        Keeping(**options)
