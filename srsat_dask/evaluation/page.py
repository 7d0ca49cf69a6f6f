"""The report as one page."""

from html import escape

from srsat_dask.evaluation.result import Evaluation


def render(report: Evaluation) -> str:
    """Return the page of a report, complete and without anything to load."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(report.title)}</title>{report._repr_html_()}</html>\n"
    )
