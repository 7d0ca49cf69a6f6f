"""One training of a sweep, in a process of its own: its arguments come in as JSON.

A fresh process has a fresh backend with its own number of threads, and what it does to the
machine ends with it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from srsat_dask.errors import SrsatError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OPENBLAS_NUM_THREADS",
)
"""What the backends take their number of threads from."""


def run_trial(arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    """Train in a fresh process.

    Parameters
    ----------
    arguments : dict
        Those of `train` as JSON values, ``inputs`` and ``model_path`` among them.
    threads : int
        Threads that it may use.

    Returns
    -------
    dict
        The history's ``bicubic_val_psnr``, ``best_val_psnr`` (dB) and ``timing``; or ``error``, if
        the training was given up.

    Raises
    ------
    SrsatError
        The process ended without either, for example because it was killed.
    """
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", __name__],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        env={**os.environ, **limits},
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word of it"])[-1]
        raise SrsatError(
            f"the training of {Path(arguments['model_path']).name} ended with status"
            f" {done.returncode}: {last}; the same sweep goes on from there"
        )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def main() -> None:
    """Train by the arguments on stdin, and print what came of it."""
    from srsat_dask.training.history import history_path
    from srsat_dask.training.workflow import train

    arguments = json.load(sys.stdin)
    try:
        train(arguments.pop("inputs"), progress=False, **arguments)
    except SrsatError as error:
        said: dict[str, Any] = {"error": str(error)}
    else:
        history = json.loads(history_path(arguments["model_path"]).read_text())
        said = {key: history[key] for key in ("bicubic_val_psnr", "best_val_psnr", "timing")}
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
