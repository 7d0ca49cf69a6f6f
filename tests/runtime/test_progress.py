"""Progress is plain lines where there is no terminal, and nothing where none is wanted."""

import pytest

from srsat_dask.runtime import progress
from srsat_dask.runtime.progress import track


def test_plain_lines_say_share_time_left_and_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half done after ten seconds leaves ten."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with track("train", 4) as bar:
        now += 10
        bar.advance(2, "loss 0.1")
        bar.advance(2, "loss 0.05")
    assert capsys.readouterr().err.splitlines() == [
        "train: 50 %, 10 s left, loss 0.1",
        "train: 100 % loss 0.05",
    ]


def test_lines_do_not_pour(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand steps in no time are one line: the last."""
    with track("harvest", 1000) as bar:
        for _ in range(1000):
            bar.advance()
    assert capsys.readouterr().err.splitlines() == ["harvest: 100 % "]


def test_nothing_is_shown_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    """``shown=False`` keeps quiet."""
    with track("harvest", 1, shown=False) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""
