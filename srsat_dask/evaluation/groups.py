"""Groups of images that are scored apart: classes, what the user names, or strata of edges."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from srsat_dask.errors import InputError
from srsat_dask.evaluation.images import Image
from srsat_dask.evaluation.measure import Cell
from srsat_dask.evaluation.scores import Scores, finite

STRATA = ("smooth", "middle", "busy")
"""Names of the strata, from few edges to many; each has as many cells as another."""

Members = Mapping[str, Sequence[str]]
"""Patterns of classes or of images' names, by the group's name."""


@dataclass(frozen=True)
class Group:
    """Some of the images, or of the cells that they are cut into, scored together."""

    kind: str
    """``class``: the images of one folder; ``group``: as the user named them; ``stratum``: the
    cells, squares of 128 pixels, of like edge density."""
    count: int
    """Images, or cells of a stratum."""
    mean: Scores
    """Means over them, each of the same weight."""
    pooled: Scores
    """Scores of all their pixels together."""
    spread: tuple[float, float]
    """Gains in dB below which a tenth and nine tenths of them lie; NaN where none is finite."""
    members: tuple[str, ...] = ()
    """Names of the images; none of a stratum."""
    edges: tuple[float, float] | None = None
    """Least and largest edge density of a stratum's cells: mean step between neighbouring
    pixels, in 8-bit digital numbers."""

    def as_dict(self) -> dict[str, Any]:
        """Return the group as JSON values."""
        return {
            "kind": self.kind,
            "count": self.count,
            "gain": finite(self.mean.gain),
            "gain_10_90": [finite(gain) for gain in self.spread],
            "mean": self.mean.as_dict(),
            "pooled": self.pooled.as_dict(),
            **({"edge_density": list(self.edges)} if self.edges else {}),
        }


def read_groups(
    groups: "Members | str | Path | Iterable[str | Path] | None",
) -> dict[str, list[str]]:
    """Read groups as the command line or a YAML file gives them.

    Parameters
    ----------
    groups : mapping, str, Path or iterable of them, optional
        ``{"urban": ["airplane", "buildings"]}``; texts such as ``urban=airplane,buildings``; or
        paths of YAML files with such a mapping. Shell patterns such as ``*residential`` are
        allowed.

    Raises
    ------
    InputError
        None of these, or a group named twice.
    """
    if groups is None:
        return {}
    if isinstance(groups, Mapping):
        return {str(name): _texts(name, members) for name, members in groups.items()}
    read: dict[str, list[str]] = {}
    for given in [groups] if isinstance(groups, str | Path) else groups:
        name, equals, members = str(given).partition("=")
        parts = (
            {name.strip(): [member.strip() for member in members.split(",") if member.strip()]}
            if equals
            else _from_yaml(Path(given))
        )
        for name, patterns in parts.items():
            if not name or not patterns or name in read:
                raise InputError(
                    f"group {str(given)!r} has no name, no members or another's name: give"
                    " NAME=CLASS,CLASS such as urban=airplane,buildings"
                )
            read[name] = patterns
    return read


def check_groups(groups: Members, images: Sequence[Image]) -> None:
    """Refuse groups that name what is not there.

    Raises
    ------
    InputError
        A pattern that fits no class and no image.
    """
    for name, patterns in groups.items():
        for pattern in patterns:
            if not any(_fits(image, pattern) for image in images):
                known = ", ".join(sorted({image.folder for image in images}))
                raise InputError(
                    f"{pattern!r} of group {name} is neither a class nor an image; the classes"
                    f" are {known}"
                )


def named_groups(
    groups: Members, images: Sequence[Image], cells: Mapping[str, Sequence[Cell]]
) -> dict[str, Group]:
    """Score the groups that the user named.

    Parameters
    ----------
    groups : mapping
        Patterns of classes or images' names by the group's name.
    images : sequence of Image
        All images.
    cells : mapping
        Measured cells by image's name.
    """
    result = {}
    for name, patterns in groups.items():
        members = [
            image.name
            for image in images
            if image.name in cells and any(_fits(image, pattern) for pattern in patterns)
        ]
        if members:
            result[name] = _group("group", [cells[member] for member in members], members)
    return result


def classes(images: Sequence[Image], cells: Mapping[str, Sequence[Cell]]) -> dict[str, Group]:
    """Score the images by the folder or store they lie in; nothing if they all lie in one."""
    members: dict[str, list[str]] = {}
    for image in images:
        members.setdefault(image.folder, []).append(image.name)
    if len(members) < 2:
        return {}
    judged = {
        name: [image for image in members[name] if image in cells] for name in sorted(members)
    }
    return {
        name: _group("class", [cells[image] for image in part], part)
        for name, part in judged.items()
        if part
    }


def strata(cells: Sequence[Cell]) -> dict[str, Group]:
    """Score cells by thirds of their edge density; nothing of fewer than three cells."""
    if len(cells) < len(STRATA):
        return {}
    edges = np.array([cell.edges for cell in cells])
    limits = np.quantile(edges, np.arange(1, len(STRATA)) / len(STRATA))
    places = np.searchsorted(limits, edges)
    result = {}
    for place, name in enumerate(STRATA):
        part = [cell for cell, at in zip(cells, places, strict=True) if at == place]
        if part:  # cells that are all alike make one stratum
            within = [cell.edges for cell in part]
            result[name] = _group(
                "stratum", [[cell] for cell in part], edges=(min(within), max(within))
            )
    return result


def _fits(image: Image, pattern: str) -> bool:
    return fnmatchcase(image.folder, pattern) or fnmatchcase(image.name, pattern)


def _group(
    kind: str,
    parts: Sequence[Sequence[Cell]],
    members: Sequence[str] = (),
    edges: tuple[float, float] | None = None,
) -> Group:
    scores = [Scores.pooled(part) for part in parts]
    gains = [one.gain for one in scores if math.isfinite(one.gain)] or [math.nan]
    low, high = (float(gain) for gain in np.quantile(gains, (0.1, 0.9)))
    return Group(
        kind,
        len(parts),
        Scores.mean(scores),
        Scores.pooled([cell for part in parts for cell in part]),
        (low, high),
        tuple(members),
        edges,
    )


def _from_yaml(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise InputError(
            f"group {str(path)!r} is neither NAME=CLASS,CLASS nor a YAML file: give for instance"
            " urban=airplane,buildings"
        )
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(read, dict):
        raise InputError(f"{path} is not a mapping of groups: give lines such as urban: [airplane]")
    return {str(name): _texts(name, members) for name, members in read.items()}


def _texts(name: object, members: object) -> list[str]:
    if isinstance(members, str) or not isinstance(members, Sequence) or not members:
        raise InputError(f"group {name} holds {members!r}: give a list of classes")
    return [str(member) for member in members]
