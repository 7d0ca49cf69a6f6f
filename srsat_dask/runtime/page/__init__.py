"""The live page ``/srsat`` in Dask's dashboard. Importing it needs Bokeh."""

from functools import partial
from typing import Any

from distributed.dashboard.core import BokehApplication, DaskBokehTornado
from distributed.dashboard.scheduler import template_variables
from tornado.ioloop import IOLoop

from srsat_dask.runtime.board import Board
from srsat_dask.runtime.page.document import show

PATH = "srsat"
"""Path of the page, and the name of its tab."""


def add_page(scheduler: Any, board: Board) -> None:
    """Add the page, and a tab beside the others, to a scheduler's dashboard.

    Nothing is done where there is no dashboard.
    """
    outer = scheduler.http_application
    dashboard = next((app for app in outer.applications if isinstance(app, DaskBokehTornado)), None)
    if dashboard is None:
        return
    variables = template_variables(scheduler)
    if PATH in variables["pages"]:
        return
    # Every page of the dashboard draws its tabs from this one list.
    variables["pages"].insert(1, PATH)
    page = BokehApplication(
        {f"/{PATH}": partial(show, board=board)},
        scheduler,
        prefix=dashboard.prefix,
        template_variables=variables,
    )
    outer.add_application(page)
    page.initialize(IOLoop.current())
    page.start()


__all__ = ["PATH", "add_page"]
