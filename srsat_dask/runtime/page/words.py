"""The page's words and figures as HTML; whatever a user named is escaped here."""

from html import escape

from srsat_dask.runtime.board import Board, Training, Work
from srsat_dask.runtime.events import ShardState

COLOURS = {
    ShardState.PENDING: "#8b95a133",
    ShardState.RUNNING: "#f2b84b",
    ShardState.STORED: "#3f7cac",
    ShardState.PARTIAL: "#8fbcd9",
    ShardState.ABSENT: "#8b95a199",
    ShardState.FAILED: "#d64550",
    ShardState.UPSCALED: "#3a9d78",
}
"""Colour of each state; told apart in light and in dark, and by the colour-blind."""

_SHOWN_FAILURES = 40


def title_of(workflow: str) -> str:
    """Return what a section is called: ``harvest-shard`` is the harvest."""
    return escape(workflow.removesuffix("-shard").replace("-", " ").capitalize())


def duration(seconds: float) -> str:
    """Return a time in the two units that matter.

    >>> duration(3725)
    '1 h 02 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(value: float, unit: str) -> str:
    """Return an amount of bytes or the like with a prefix.

    >>> amount(12_300_000, "B")
    '12.3 MB'
    """
    for prefix in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} T{unit}"


def _standing(ended: float | None, left: float | None, part: float) -> str:
    if ended is not None:
        return "done" if part >= 1 else "stopped"
    return "starting" if left is None else f"{duration(left)} left"


def _head(title: str, standing: str, part: float, counted: str) -> str:
    return (
        f'<div class="head"><h2>{title}</h2><span class="counted">{counted}</span>'
        f'<span class="standing">{standing}</span></div>'
        f'<div class="bar"><i style="width:{100 * part:.1f}%"></i></div>'
    )


def _figures(pairs: list[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div class="figure"><b>{value}</b><span>{name}</span></div>' for name, value in pairs
    )
    return f'<div class="figures">{cells}</div>'


def work_words(work: Work, now: float) -> str:
    """Return the head of a workflow's section: how far it is, how fast, what is wrong."""
    part = work.finished / work.planned if work.planned else 1.0
    counted = f"{work.finished:,} of {work.planned:,} shards"
    counts = work.counts()
    pairs = []
    if work.tiles:
        pairs.append(("tiles/s", f"{work.rate('tiles', now):.1f}"))
    pairs.append(("Mpx/s", f"{work.rate('pixels', now) / 1e6:.2f}"))
    if work.received:
        pairs.append(("received/s", amount(work.rate("bytes", now), "B")))
        pairs.append(("received", amount(work.received, "B")))
    pairs.append(("written", amount(work.pixels, "px")))
    pairs.append(("scenes", f"{len(work.grids):,}"))
    pairs.append(("failed shards", f"{counts[ShardState.FAILED]:,}"))
    standing = _standing(work.ended, work.seconds_left(now), part)
    return _head(title_of(work.workflow), standing, part, counted) + _figures(pairs)


def training_words(training: Training, now: float) -> str:
    """Return the head of the training's section."""
    standing = _standing(training.ended, training.seconds_left(now), training.part)
    counted = escape(training.note)
    return _head("Train", standing, training.part, counted)


def legend(board: Board) -> str:
    """Return what the colours mean, with the number of shards in each state."""
    total = dict.fromkeys(ShardState, 0)
    for work in board.works.values():
        for state, count in work.counts().items():
            total[state] += count
    rows = "".join(
        f'<li><i style="background:{COLOURS[state]}"></i>{state.name.lower()}'
        f"<b>{total[state]:,}</b></li>"
        for state in ShardState
    )
    return f'<h3>Shards</h3><ul class="legend">{rows}</ul>'


def trouble(board: Board) -> str:
    """Return what went wrong: errors by kind, then the failed shards with their reasons."""
    kinds = "".join(
        f"<li>{escape(kind)}<b>{count:,}</b></li>"
        for work in board.works.values()
        for kind, count in work.trouble.most_common(12)
    )
    failed = [
        f"<li><em>{escape(scene)} <span>({row}, {column})</span></em>{escape(reason)}</li>"
        for work in board.works.values()
        for scene, row, column, reason in board.failures(work)
    ]
    more = len(failed) - _SHOWN_FAILURES
    rest = f"<li>and {more:,} more</li>" if more > 0 else ""
    shown = "".join(failed[:_SHOWN_FAILURES]) + rest
    return (
        f'<h3>Errors</h3><ul class="counts">{kinds or "<li>none</li>"}</ul>'
        f'<h3>Failed shards</h3><ul class="failed">{shown or "<li>none</li>"}</ul>'
    )


STYLE = """
:host { display: block; color: var(--srsat-ink); font: 14px/1.45 system-ui, sans-serif;
        font-variant-numeric: tabular-nums; }
.bk-clearfix { width: 100%; }
h2 { margin: 0; font-size: 19px; font-weight: 600; letter-spacing: -.01em; }
h3 { margin: 18px 0 6px; font-size: 12px; font-weight: 600; color: var(--srsat-soft);
     text-transform: uppercase; letter-spacing: .06em; }
h3:first-child { margin-top: 0; }
.head { display: flex; align-items: baseline; gap: 14px; }
.counted { color: var(--srsat-soft); overflow: hidden; text-overflow: ellipsis;
           white-space: nowrap; }
.standing { margin-left: auto; white-space: nowrap; }
.bar { height: 4px; margin: 8px 0 12px; border-radius: 2px; background: var(--srsat-line);
       overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--srsat-accent);
         transition: width .4s linear; }
.figures { display: flex; flex-wrap: wrap; gap: 6px 30px; }
.figure { min-width: 84px; }
.figure b { display: block; font-size: 21px; font-weight: 500; line-height: 1.25; }
.figure span, .scene span { color: var(--srsat-soft); font-size: 12px; }
.scene { display: flex; gap: 8px; justify-content: space-between; align-items: baseline;
         padding: 4px 2px 0; }
.scene b { font-weight: 500; font-size: 13px; overflow: hidden; text-overflow: ellipsis;
           white-space: nowrap; }
.scene span { white-space: nowrap; }
ul { list-style: none; margin: 0; padding: 0; }
.legend li, .counts li { display: flex; align-items: center; gap: 9px; padding: 2px 0; }
.legend i { width: 13px; height: 13px; border-radius: 3px; flex: none;
            box-shadow: inset 0 0 0 1px #8b95a155; }
.legend b, .counts b { margin-left: auto; font-weight: 500; }
.failed { max-height: 46vh; overflow-y: auto; }
.failed li { padding: 5px 0; border-top: 1px solid var(--srsat-line); overflow-wrap: anywhere; }
.failed li:first-child { border-top: 0; padding-top: 0; }
.failed em { display: block; font-style: normal; font-weight: 500; }
.failed em span { color: var(--srsat-soft); font-weight: 400; }
.waiting { padding: 60px 0; color: var(--srsat-soft); font-size: 16px; }
"""
"""Style of the words; colours come from variables of the page, for light and dark."""
