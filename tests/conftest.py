"""Fixtures that every package's tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def imagery() -> Path:
    """Return the folder of real imagery; skip without it, but fail in CI."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "imagery"
    if not folder.is_dir():
        reason = "the real imagery is not beside this checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
