"""The public names are there, documented and typed, and the tree of exceptions is as drawn."""

import importlib
import inspect
import re
import subprocess
import sys
from importlib import resources
from typing import Any

import pytest

import srsat_dask
from srsat_dask import errors

FUNCTIONS = (
    "search",
    "connect",
    "harvest",
    "open_mosaic",
    "train",
    "upscale",
    "upscale_store",
    "evaluate",
)
"""What the interface names; scripts and notebooks call exactly these."""


def test_interface_is_public() -> None:
    """Every function of the interface is in ``__all__``."""
    assert set(FUNCTIONS) <= set(srsat_dask.__all__)
    assert len(set(srsat_dask.__all__)) == len(srsat_dask.__all__)


@pytest.mark.parametrize("name", srsat_dask.__all__)
def test_public_name_is_there_and_documented(name: str) -> None:
    """It resolves, ``dir`` lists it, and its numpydoc sections name every parameter."""
    thing = getattr(srsat_dask, name)
    assert name in dir(srsat_dask)
    assert thing.__name__ == name
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].endswith(".")
    if inspect.isclass(thing):
        return
    signature = inspect.signature(thing)
    if signature.parameters:
        section = _section(text, "Parameters")
        described = {
            parameter.strip()
            for line in section.splitlines()
            if " : " in line and not line.startswith(" ")
            for parameter in line.partition(" : ")[0].split(",")
        }
        assert described == set(signature.parameters)
    assert _section(text, "Returns")


def _section(text: str, title: str) -> str:
    found = re.search(rf"^{title}\n-+\n(.+?)(?=\n\n\w+\n-+\n|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no section {title}"
    return found[1]


@pytest.mark.parametrize(
    "first",
    [
        "srsat_dask.harvesting.run, srsat_dask.upscaling.store",
        "srsat_dask.evaluation.report, srsat_dask.training, srsat_dask.upscaling.lazy",
        "srsat_dask.cli, srsat_dask.demo",
    ],
)
def test_functions_are_callable_whatever_was_imported_first(first: str) -> None:
    """A submodule imported before never takes a function's place."""
    code = f"""
import {first}
import srsat_dask
for name in {FUNCTIONS}:
    assert callable(getattr(srsat_dask, name)), name
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="srsat_dask attribute nothing"):
        _ = srsat_dask.nothing


def test_tree_of_exceptions_is_as_drawn() -> None:
    """The drawing at the top of ``errors.py`` names every class, its base and its exit status."""
    drawn: dict[str, str] = {}
    statuses: dict[str, int] = {}
    bases: list[str] = []
    assert errors.__doc__
    for line in errors.__doc__.splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w*Error) +(.+)$", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        name = found[2]
        bases[depth:] = [name]
        drawn[name] = bases[depth - 1] if depth else "Exception"
        status = re.search(r"exit status (\d)", found[3])
        statuses[name] = int(status[1]) if status else statuses.get(drawn[name], 2)
    real = {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    assert drawn == {name: thing.__bases__[0].__name__ for name, thing in real.items()}
    assert statuses == {name: thing.exit_status for name, thing in real.items()}


def test_every_exception_of_the_tree_is_public() -> None:
    """What may be raised on purpose can be caught by its name."""
    named = {name for name in vars(errors) if name.endswith("Error")}
    assert {name for name in srsat_dask.__all__ if name.endswith("Error")} == named


def test_package_is_typed() -> None:
    """Type checkers of those who use it read its annotations."""
    assert resources.files("srsat_dask").joinpath("py.typed").is_file()
    for name in FUNCTIONS:
        function: Any = getattr(srsat_dask, name)
        annotations = inspect.get_annotations(function)
        assert set(annotations) == {*inspect.signature(function).parameters, "return"}


def test_version_is_that_of_the_command() -> None:
    """One place holds it."""
    cli = importlib.import_module("srsat_dask.cli")
    assert cli.srsat_dask.__version__ == srsat_dask.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", srsat_dask.__version__)
