"""The article's figure: original, low resolution and SRCNN side by side, bicubic between them."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from srsat_dask.evaluation.measure import Compared
from srsat_dask.evaluation.metrics import Pixels, busiest, decibel, differences

ZOOM = 4
"""The zoomed part is this many times smaller than the image."""

PANEL = 4.0
"""Width of a panel in inches of 100 px."""


def draw(compared: Compared, scale: int, path: str | Path) -> None:
    """Draw one window of an evaluation, and beneath it a zoomed part, as a PNG.

    Parameters
    ----------
    compared : Compared
        The window. Each panel's PSNR is of the pixels that count in it.
    scale : int
        Pixels of the original per pixel of the low resolution.
    path : str or Path
        The PNG to write.
    """
    core = compared.core
    nearest = np.zeros_like(compared.original)
    nearest[core] = compared.low.repeat(scale, axis=0).repeat(scale, axis=1)
    panels = {
        "original": compared.original,
        f"low resolution (÷{scale})": nearest,
        "bicubic": compared.bicubic,
        "SRCNN": compared.upscaled,
    }
    height, width = compared.original[core].shape[:2]
    zoom = busiest(compared.original[core], max(height // ZOOM, 1), max(width // ZOOM, 1))
    # As tall as its panels, whatever their shape, and a line of text above and below each.
    tall = min(max(height / width, 0.2), 3.0) * PANEL
    figure = Figure(figsize=(len(panels) * PANEL, 2 * tall + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    for (above, below), (title, image) in zip(
        figure.subplots(2, len(panels)).T, panels.items(), strict=True
    ):
        whole = image[core]
        above.imshow(whole, interpolation="nearest")
        above.add_patch(
            Rectangle(
                (zoom[1].start - 0.5, zoom[0].start - 0.5),
                zoom[1].stop - zoom[1].start,
                zoom[0].stop - zoom[0].start,
                fill=False,
                edgecolor="white",
                linewidth=1.5,
            )
        )
        below.imshow(whole[zoom], interpolation="nearest")
        above.set_title(title, fontsize=15)
        said = "PSNR of this part" if title == "original" else _psnr(compared, image)
        above.set_xlabel(said, fontsize=13)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
    figure.savefig(path, format="png", dpi=100)


def _psnr(compared: Compared, image: Pixels) -> str:
    core = compared.core
    squares, _, pixels = differences(compared.original[core], image[core], compared.counted[core])
    return f"{decibel(squares, 3 * pixels):.2f} dB"
