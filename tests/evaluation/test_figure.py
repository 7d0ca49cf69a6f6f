"""The figure shows four panels, each with its PSNR, whatever the shape of the image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from srsat_dask.evaluation.report import evaluate

MakeModel = Callable[..., Any]


@pytest.mark.parametrize("size", [(96, 96), (60, 240), (300, 60)])
def test_four_panels_with_psnr_and_nothing_clipped(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Every title and number lies inside the picture, and the numbers are the report's."""
    drawn: list[Any] = []
    save = matplotlib.figure.Figure.savefig

    def kept(self: Any, *arguments: Any, **options: Any) -> None:
        drawn.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", kept)
    true = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(true).save(tmp_path / "p.png")
    model = make_model(4, filters=(4,), kernels=(5, 3))
    report = evaluate(tmp_path / "p.png", model, figure=tmp_path / "f.png", progress=False)

    with Image.open(tmp_path / "f.png") as png:
        assert png.format == "PNG"
        width, height = png.size
    (figure,) = drawn
    above, below = figure.axes[:4], figure.axes[4:]
    titles = ["original", "low resolution (÷4)", "bicubic", "SRCNN"]
    assert [axes.get_title() for axes in above] == titles
    scores = report.images["p"]
    said = [axes.get_xlabel() for axes in above]
    assert said[0] == "PSNR of this part"
    assert said[2:] == [f"{scores.psnr_bicubic:.2f} dB", f"{scores.psnr:.2f} dB"]

    images = [axes.get_images()[0].get_array() for axes in above]
    np.testing.assert_array_equal(images[0], true)
    coarse = images[1][::4, ::4]
    np.testing.assert_array_equal(images[1], coarse.repeat(4, axis=0).repeat(4, axis=1))
    inside = (slice(4, -4), slice(4, -4))
    nearest = peak_signal_noise_ratio(true[inside], images[1][inside], data_range=255)
    assert said[1] == f"{nearest:.2f} dB"
    zoomed = [axes.get_images()[0].get_array() for axes in below]
    assert {part.shape for part in zoomed} == {(size[0] // 4, size[1] // 4, 3)}

    texts = [text for axes in above for text in (axes.title, axes.xaxis.label)]
    boxes = [text.get_window_extent() for text in texts]
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(
        one.overlaps(other) for number, one in enumerate(boxes) for other in boxes[number + 1 :]
    )
