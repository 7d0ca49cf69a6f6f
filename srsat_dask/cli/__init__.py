"""The ``srsat`` command: parse, call, print; one module a command.

Exit status: 0 all done; 1 finished with recorded failures; 2 bad arguments or input. Progress and
errors go to stderr, results to stdout; with ``--json`` stdout is one JSON document.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from rich_argparse import RawDescriptionRichHelpFormatter

import srsat_dask
from srsat_dask.cli import (
    demo,
    evaluate,
    export,
    harvest,
    sandbox,
    scenes,
    status,
    sweep,
    train,
    upscale,
    verify,
)
from srsat_dask.cli.common import BAD_INPUT, INTERRUPTED
from srsat_dask.errors import SrsatError

COMMANDS = (demo, sandbox, scenes, harvest, status, verify, train, sweep, evaluate, upscale, export)
"""The commands in the order of the pipeline."""

RESUMABLE = (harvest, train, sweep, upscale)
"""Commands that go on where they were interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program's name; by default those of the process.
    """
    # TensorFlow and its C++ libraries are talkative at start-up; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    options = _parser().parse_args(arguments)
    try:
        exit_status: int = options.command.run(options)
    except SrsatError as error:
        sys.stderr.write(f"srsat: error: {' '.join(str(error).split())}\n")
        return error.exit_status
    except OSError as error:  # a full disk, a folder without permission
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        sys.stderr.write(f"srsat: error: {' '.join(said.split())}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        resumes = options.command in RESUMABLE and not getattr(options, "fresh", False)
        goes_on = "; the same command again goes on from here" if resumes else ""
        sys.stderr.write(f"srsat: interrupted{goes_on}\n")
        return INTERRUPTED
    return exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srsat",
        description="Whole-scene satellite super-resolution on Dask.",
        formatter_class=RawDescriptionRichHelpFormatter,
        epilog="Exit status: 0 all done; 1 finished with recorded failures; 2 bad input.",
    )
    parser.add_argument("--version", action="version", version=f"srsat {srsat_dask.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        said = command.run.__doc__ or ""
        made = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=said.rstrip("."),
            description=said,
            formatter_class=RawDescriptionRichHelpFormatter,
        )
        command.add_arguments(made)
        made.set_defaults(command=command)
    return parser
