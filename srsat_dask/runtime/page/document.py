"""The page's Bokeh document: a section for each workflow, a map for each scene.

A session's periodic callback compares versions and sends only what changed: one image of one byte
a shard for a scene that moved, the words when they read differently. Without a browser there is
no session and nothing is done.
"""

import time
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.models import (
    Column,
    ColumnDataSource,
    CustomJSHover,
    Div,
    HoverTool,
    InlineStyleSheet,
    LinearColorMapper,
    Row,
)
from bokeh.plotting import figure
from distributed.dashboard.components.scheduler import env

from srsat_dask.runtime.board import Board, Grid, Training, Work
from srsat_dask.runtime.events import ShardState
from srsat_dask.runtime.page import words

EVERY = 500
"""Milliseconds between two looks at the board."""

MOST_MAPS = 24
"""Maps shown of one workflow: those that began last; the other scenes are only counted."""

_GRID_LINES_UP_TO = 40
"""Rows or columns of a map that still get lines between its shards."""

_INK = "#8b95a1"
"""Of axes and lines: a grey that is read on light and on dark."""


def show(scheduler: Any, extra: dict[str, Any], doc: Document, *, board: Board) -> None:
    """Fill a new browser session's document, and keep it up to date."""
    page = _Page(board)
    page.update()
    doc.add_root(page.root)
    doc.title = "srsat"
    doc.template = env.from_string((Path(__file__).parent / "page.html").read_text())
    doc.template_variables.update(extra)
    doc.add_periodic_callback(page.update, EVERY)


class _Page:
    """What one browser shows."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._works: dict[str, _Section] = {}
        self._curve: _Curve | None = None
        self._style = InlineStyleSheet(css=words.STYLE)
        waiting = (
            '<div class="waiting">Nothing has run yet. The map fills in as work goes on.</div>'
        )
        self._waiting = self._div(waiting)
        self._legend = self._div("")
        self._trouble = self._div("")
        self._main = Column(self._waiting, sizing_mode="stretch_width", spacing=34)
        side = Column(self._legend, self._trouble, width=270, spacing=18)
        self.root = Row(self._main, side, sizing_mode="stretch_width", spacing=36)

    def _div(self, text: str) -> Div:
        return Div(text=text, stylesheets=[self._style], sizing_mode="stretch_width")

    def update(self) -> None:
        """Send what changed since the last time."""
        now = time.monotonic()
        sections = len(self._works) + (self._curve is not None)
        for workflow, work in self._board.works.items():
            self._works.setdefault(workflow, _Section(self._style)).update(work, now)
        training = self._board.training
        if training is not None:
            self._curve = self._curve or _Curve(self._style)
            self._curve.update(training, now)
        # What is new is filled before it is hung in: a browser gets it whole.
        if len(self._works) + (self._curve is not None) != sections:
            self._arrange()
        _say(self._legend, words.legend(self._board))
        _say(self._trouble, words.trouble(self._board))

    def _arrange(self) -> None:
        """Put the sections in the order of the pipeline: a new one moves none above it."""
        roots = {name: section.root for name, section in self._works.items()}
        if self._curve is not None:
            roots["train"] = self._curve.root
        order = {"harvest-shard": 0, "train": 1, "upscale-shard": 3}
        self._main.children = [roots[name] for name in sorted(roots, key=lambda n: order.get(n, 2))]


class _Section:
    """One workflow: its figures, and a map of each scene."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self._style = style
        self._words = Div(stylesheets=[style], sizing_mode="stretch_width")
        wrap = InlineStyleSheet(css=":host { flex-wrap: wrap; }")
        self._flow = Row(sizing_mode="stretch_width", spacing=18, stylesheets=[wrap])
        self._maps: dict[str, _Map] = {}
        self.root = Column(self._words, self._flow, sizing_mode="stretch_width", spacing=12)

    def update(self, work: Work, now: float) -> None:
        """Bring words and maps up to date."""
        _say(self._words, words.work_words(work, now))
        grids = list(work.grids.values())[-MOST_MAPS:]
        side = _side(len(grids))
        wanted = [(grid.scene, grid.states.shape, side) for grid in grids]
        shown = [(scene, shown.shape, shown.side) for scene, shown in self._maps.items()]
        if wanted != shown:
            self._maps = {grid.scene: _Map(grid, side, self._style) for grid in grids}
        for grid in grids:
            self._maps[grid.scene].update(grid)
        if wanted != shown:
            self._flow.children = [shown.root for shown in self._maps.values()]


def _side(maps: int) -> int:
    """Return the longer side of each map in pixels, for so many of them."""
    for most, side in ((1, 480), (2, 420), (6, 300)):
        if maps <= most:
            return side
    return 210


class _Map:
    """The shards of one scene, a cell each, north up."""

    def __init__(self, grid: Grid, side: int, style: InlineStyleSheet) -> None:
        self.shape, self.side = grid.states.shape, side
        self._version = -1
        rows, columns = self.shape
        cell = side / max(rows, columns)
        width, height = max(round(columns * cell), 60), max(round(rows * cell), 24)
        plot = figure(
            width=width,
            height=height,
            x_range=(0, columns),
            y_range=(rows, 0),
            toolbar_location=None,
            tools="",
            min_border=0,
            outline_line_color=_INK,
            outline_line_alpha=0.5,
            background_fill_alpha=0,
            border_fill_alpha=0,
        )
        plot.axis.visible = False
        plot.grid.visible = False
        self._cells = ColumnDataSource({"state": [np.zeros(self.shape, np.uint8)]})
        names = [state.name.lower() for state in ShardState]
        drawn = plot.image(
            "state", x=0, y=0, dw=columns, dh=rows, source=self._cells, level="image",
            color_mapper=LinearColorMapper(
                palette=[words.COLOURS[state] for state in ShardState],
                low=-0.5, high=len(names) - 0.5,
            ),
        )  # fmt: skip
        if max(rows, columns) <= _GRID_LINES_UP_TO:
            lines = {"line_color": _INK, "line_alpha": 0.45, "line_width": 1}
            plot.segment(list(range(1, columns)), 0, list(range(1, columns)), rows, **lines)
            plot.segment(0, list(range(1, rows)), columns, list(range(1, rows)), **lines)
        self._failed = ColumnDataSource({"x": [], "y": [], "reason": []})
        # Failed ones are framed too: not by colour alone.
        marks = plot.rect(
            "x", "y", 1, 1, source=self._failed, fill_alpha=0, line_color="#8f1d2c", line_width=2
        )
        floor = CustomJSHover(code="return Math.floor(value).toString()")
        named = CustomJSHover(args={"names": names}, code="return names[value]")
        plot.add_tools(
            HoverTool(
                renderers=[drawn],
                tooltips=[("state", "@state{custom}"), ("row, column", "$y{custom}, $x{custom}")],
                formatters={"@state": named, "$x": floor, "$y": floor},
            ),
            HoverTool(renderers=[marks], tooltips=[("failed", "@reason")]),
        )
        self._title = Div(stylesheets=[style], width=width)
        self.root = Column(plot, self._title, spacing=0, margin=(0, 5))

    def update(self, grid: Grid) -> None:
        """Send the cells if one changed."""
        if grid.version == self._version:
            return
        self._version = grid.version
        self._cells.data = {"state": [grid.states.copy()]}
        failed = list(grid.failures.items())
        self._failed.data = {
            "x": [column + 0.5 for (_, column), _ in failed],
            "y": [row + 0.5 for (row, _), _ in failed],
            "reason": [reason for _, reason in failed],
        }
        done = int((grid.states > ShardState.RUNNING).sum())
        _say(
            self._title,
            f'<div class="scene"><b title="{escape(grid.scene)}">{escape(grid.scene)}</b>'
            f"<span>{done:,} / {grid.states.size:,}</span></div>",
        )


class _Curve:
    """The loss of a training over time."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self._version: tuple[str, int] | None = None
        self._words = Div(stylesheets=[style], sizing_mode="stretch_width")
        plot = figure(
            height=190,
            sizing_mode="stretch_width",
            max_width=900,
            y_axis_type="log",
            x_axis_label="seconds",
            y_axis_label="loss (MSE)",
            toolbar_location=None,
            tools="",
            outline_line_color=None,
            background_fill_alpha=0,
            border_fill_alpha=0,
        )
        for axis in plot.axis:
            axis.axis_label_text_color = axis.major_label_text_color = _INK
            axis.axis_line_color = axis.major_tick_line_color = _INK
            axis.minor_tick_line_color = None
            axis.axis_label_text_font_style = "normal"
        plot.grid.grid_line_color = _INK
        plot.grid.grid_line_alpha = 0.25
        plot.xgrid.grid_line_color = None
        self._points = ColumnDataSource({"seconds": [], "loss": []})
        plot.line("seconds", "loss", source=self._points, line_width=2, line_color="#3f7cac")
        plot.add_tools(
            HoverTool(
                mode="vline", tooltips=[("after", "@seconds{0} s"), ("loss", "@loss{0.00000}")]
            )
        )
        self.root = Column(self._words, plot, sizing_mode="stretch_width", spacing=8)

    def update(self, training: Training, now: float) -> None:
        """Send the curve if it grew."""
        _say(self._words, words.training_words(training, now))
        version = (training.run, training.version)
        if version != self._version:
            self._version = version
            self._points.data = {"seconds": list(training.seconds), "loss": list(training.losses)}


def _say(div: Div, text: str) -> None:
    """Set a text if it reads differently: an unchanged one is not sent."""
    if div.text != text:
        div.text = text
