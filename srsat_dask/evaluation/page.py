"""The report as one page: tables, bars and pictures, with nothing to load."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import srsat_dask
from srsat_dask.evaluation.gallery import ERROR_PEAK, Picture
from srsat_dask.evaluation.groups import Group
from srsat_dask.evaluation.result import CONVENTION, Evaluation

KINDS = {
    "class": ("Classes", "one a folder", "images"),
    "group": ("Groups", "as they were named", "images"),
    "stratum": ("Strata", "squares of 128 pixels, in thirds by edge density", "squares"),
}
"""Title, explanation and unit of a kind of group."""

MOST_LISTED = 12
"""Most entries of a list in the model's metadata that the foot of the page spells out."""

PAGE = "page.html.jinja"


def render(report: Evaluation) -> str:
    """Return the page of a report, complete: its pictures are made now.

    Every text is escaped, and the page forbids its browser to load anything.
    """
    environment = Environment(
        loader=PackageLoader("srsat_dask.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"db": _decibels, "gain": _gain, "ssim": _similarity, "dn": _numbers}
    tables: dict[str, dict[str, Group]] = {group.kind: {} for group in report.groups.values()}
    tables |= {"class": {}} if report.classes else {}
    for name, group in [*report.groups.items(), *report.classes.items()]:
        tables[group.kind][name] = group
    pictures = _pictures(report)
    every = [group for groups in tables.values() for group in groups.values()]
    return environment.get_template(PAGE).render(
        report=report,
        mean=report.mean,
        tables=[(*KINDS[kind], groups) for kind, groups in tables.items()],
        axis=_Axis.around([_headline(group).gain for group in every], every),
        headline=_headline,
        pictures=pictures,
        anchors={name: f"group-{number}" for number, (name, _) in enumerate(pictures)},
        convention=CONVENTION,
        error_peak=ERROR_PEAK,
        facts=_facts(report.metadata),
        version=srsat_dask.__version__,
        day=datetime.now(UTC).date().isoformat(),
    )


class _Axis:
    """A scale of gains, in per cent of the width of its column."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def around(cls, gains: Sequence[float], groups: Sequence[Group]) -> "_Axis":
        values = [*gains, *(gain for group in groups for gain in group.spread)]
        finite = [value for value in values if math.isfinite(value)]
        low, high = min([*finite, 0.0]), max([*finite, 0.0])
        room = 0.04 * (high - low) or 1.0
        return cls(low - (room if low < 0 else 0), high + room)

    def at(self, gain: float) -> float:
        return round(100 * (gain - self.low) / (self.high - self.low), 2)

    def bar(self, gain: float) -> tuple[float, float]:
        """Return where the bar of a gain begins and how long it is."""
        begin, end = sorted((self.at(0), self.at(gain)))
        return begin, round(end - begin, 2)


def _headline(group: Group) -> Any:
    # Of squares, many are flat, and the mean of their PSNRs says little.
    return group.pooled if group.kind == "stratum" else group.mean


def _pictures(report: Evaluation) -> list[tuple[str, list[Picture]]]:
    if report.gallery is None:
        return []
    if not report.groups:
        return [("All images", report.gallery.of_all())]
    shown = [(name, report.gallery.of_group(group)) for name, group in report.groups.items()]
    return [(name, pictures) for name, pictures in shown if pictures]


def _facts(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a model's file says of it, as names and texts."""
    said = {name: value for name, value in metadata.items() if value not in (None, "", [], {})}
    if isinstance(said.get("training_data"), list):
        said["training_data"] = [_source(entry) for entry in said["training_data"]]
    return [(name.replace("_", " "), _said(value)) for name, value in said.items()]


def _source(entry: Any) -> Any:
    """Return the name and the credit of one of the things trained on, without its digests."""
    if not isinstance(entry, Mapping):
        return entry
    lineage = entry.get("lineage")
    credits = {**(lineage if isinstance(lineage, Mapping) else {}), **entry}
    name = entry.get("scene") or entry.get("folder") or "unnamed"
    words = [
        f"{key} {credits[key]}"
        for key in ("source", "attribution", "credit", "licence", "license")
        if isinstance(credits.get(key), str)
    ]
    split = entry.get("split")
    if isinstance(split, Mapping) and isinstance(split.get("images"), Mapping):
        words.append(f"images: {_said(split['images'])}")
    return f"{name} ({', '.join(words)})" if words else str(name)


def _said(value: Any) -> str:
    """Return a JSON value in words; of a long list, the beginning."""
    if isinstance(value, Mapping):
        parts = [f"{key.replace('_', ' ')} {_said(part)}" for key, part in value.items()]
        return ", ".join(part for part in parts if part.strip())
    if isinstance(value, list):
        if all(isinstance(part, int | float) for part in value):
            return " ".join(_said(part) for part in value)
        listed = "; ".join(_said(part) for part in value[:MOST_LISTED])
        more = len(value) - MOST_LISTED
        return f"{listed}; and {more} more" if more > 0 else listed
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _decibels(value: float) -> str:
    return _number(value, ".2f")


def _gain(value: float) -> str:
    return _number(value, "+.2f").replace("-", "−")


def _similarity(value: float) -> str:
    return _number(value, ".4f")


def _numbers(value: float) -> str:
    return _number(value, ".2f")


def _number(value: float, form: str) -> str:
    if math.isinf(value):
        return "∞"
    return "–" if math.isnan(value) else format(value, form)
