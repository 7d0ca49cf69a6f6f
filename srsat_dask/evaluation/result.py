"""The result of an evaluation: scores per image, per group, as means and pooled."""

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from srsat_dask.errors import InputError
from srsat_dask.evaluation.groups import Group
from srsat_dask.evaluation.scores import Scores, finite
from srsat_dask.model.degradation import BICUBIC, Degradation

if TYPE_CHECKING:
    import pandas as pd

    from srsat_dask.evaluation.gallery import Gallery

CONVENTION = (
    "8-bit RGB after rounding, a border of scale pixels and missing pixels left out; Y is BT.601"
    " luma (16 to 235, peak 255); SSIM has a uniform window of 7 × 7; consistency is the PSNR of"
    " the output degraded again against what it was made from"
)
"""How the scores are taken, in words."""

TITLES = (
    *("image", "bicubic", "model", "gain", "bicubic Y", "model Y", "SSIM bicubic", "SSIM"),
    *("consistency bicubic", "consistency"),
)
"""Columns of the table."""

ROWS = 40
"""Most images that a table lists by default."""


@dataclass(frozen=True)
class Evaluation:
    """How well a model upscales images, with bicubic beside it."""

    scale: int
    """Pixels of the image per pixel that the model saw."""
    model: str
    """Name of the model."""
    images: dict[str, Scores]
    """Scores by name of the image."""
    held_out: tuple[str, ...] = ()
    """Images that the model was trained on, judged on what was held out of them only."""
    degradation: Degradation = BICUBIC
    """How the images were made coarser."""
    pooled: Scores | None = None
    """Scores of all pixels of all images together, as the article reports them."""
    groups: dict[str, Group] = field(default_factory=dict)
    """What the user named; else the classes, one a folder; else strata of edge density."""
    classes: dict[str, Group] = field(default_factory=dict)
    """Images by the folder they lie in, where they lie in several."""
    left_out: tuple[str, ...] = ()
    """Images that are not judged: the model was trained on all of their pixels."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the model's file says of how it was made, and its ``sha256``."""
    gallery: "Gallery | None" = field(default=None, repr=False, compare=False)
    """Where the pictures of the page come from; without it the page has none."""

    @property
    def mean(self) -> Scores:
        """Means over the images, each of the same weight."""
        return Scores.mean(list(self.images.values()))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        of_image = self._class_of_image()
        return {
            "scale": self.scale,
            "model": self.model,
            "degradation": str(self.degradation),
            "convention": CONVENTION,
            "images": [
                {
                    "name": name,
                    "class": of_image.get(name),
                    **scores.as_dict(),
                    "held_out_only": name in self.held_out,
                }
                for name, scores in self.images.items()
            ],
            "mean": self.mean.as_dict(),
            "pooled": self.pooled.as_dict() if self.pooled else None,
            "gain": {
                "mean": finite(self.mean.gain),
                "pooled": finite(self.pooled.gain) if self.pooled else None,
            },
            "groups": {name: group.as_dict() for name, group in self.groups.items()},
            "classes": {name: group.as_dict() for name, group in self.classes.items()},
            "left_out": list(self.left_out),
        }

    def to_json(self, path: str | Path) -> None:
        """Write the report as one JSON document."""
        document = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        check_target(path).write_text(f"{document}\n", encoding="utf-8")

    def to_html(self, path: str | Path) -> None:
        """Write the report as one page, pictures included; it needs no network and no server.

        The pictures are made now, from the images and the model.

        Raises
        ------
        InputError
            The folder does not exist, or an image is gone.
        """
        from srsat_dask.evaluation.page import render

        target = check_target(path)
        target.write_text(render(self), encoding="utf-8")

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the scores as a table with a row per image, indexed by its name.

        Raises
        ------
        InputError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError("a data frame needs pandas: pip install pandas") from error
        of_image = self._class_of_image()
        rows = [
            {"image": name, "class": of_image.get(name), **vars(scores), "gain": scores.gain}
            for name, scores in self.images.items()
        ]
        return pd.DataFrame(rows).set_index("image")

    def _class_of_image(self) -> dict[str, str]:
        return {image: name for name, group in self.classes.items() for image in group.members}

    def lines(self, rows: int = ROWS) -> list[list[str]]:
        """Return the report as texts, a list of `TITLES` a line: images, groups, means.

        Parameters
        ----------
        rows : int
            Most images to list; where there are more, only groups and means are.
        """
        named = list(self.images.items()) if len(self.images) <= rows else []
        lines = [
            _line(f"{name} (held out)" if name in self.held_out else name, scores)
            for name, scores in named
        ]
        groups = {**self.groups, **self.classes}
        for name, group in groups.items():
            unit = "squares" if group.kind == "stratum" else "images"
            # Of squares, many are flat, and the mean of their PSNRs says little.
            scores = group.pooled if group.kind == "stratum" else group.mean
            lines.append(_line(f"{name}: {group.count} {unit}", scores))
        lines.append(_line("mean", self.mean))
        return [*lines, _line("pooled", self.pooled)] if self.pooled else lines

    def table(self, rows: int = ROWS) -> Table:
        """Return the report as a table for a terminal; see `lines` for ``rows``."""
        table = Table(title=self.title)
        table.add_column(TITLES[0])
        for title in TITLES[1:]:
            table.add_column(title, justify="right")
        for line in self.lines(rows):
            table.add_row(*map(Text, line))  # a name in [brackets] is no style
        return table

    @property
    def title(self) -> str:
        """What was judged on what, in a line."""
        return (
            f"×{self.scale}, {self.model}, degraded by {self.degradation}:"
            " PSNR in dB, bicubic beside the model"
        )

    def _repr_html_(self) -> str:
        """Return the table for Jupyter."""
        head = "".join(f"<th>{escape(title)}</th>" for title in TITLES)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>"
            for line in self.lines()
        )
        return f"<table><caption>{escape(self.title)}</caption><tr>{head}</tr>{body}</table>"


def check_target(path: str | Path) -> Path:
    """Return the path of a file to write.

    Raises
    ------
    InputError
        The folder does not exist, or the path is one.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder: give the path of a file")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder: make it first")
    return target


def _line(name: str, scores: Scores) -> list[str]:
    return [
        name,
        f"{scores.psnr_bicubic:.2f}",
        f"{scores.psnr:.2f}",
        f"{scores.gain:+.2f}",
        f"{scores.psnr_y_bicubic:.2f}",
        f"{scores.psnr_y:.2f}",
        f"{scores.ssim_bicubic:.4f}",
        f"{scores.ssim:.4f}",
        f"{scores.consistency_bicubic:.2f}",
        f"{scores.consistency:.2f}",
    ]
