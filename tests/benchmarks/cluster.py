"""What the live page, the plugin and the metrics cost, and how long workers take to start.

    python tests/benchmarks/cluster.py [--tasks 10000] [--rounds 3]

The same tasks run through the shard runner on a cluster of one process, with and without the
plugin, in turns; the page is looked at by a session all the while (the document is built and
updated as for a browser). Ratios of the medians.
"""

import argparse
import statistics
import subprocess
import sys
import time
from unittest import mock

import numpy as np
from bokeh.document import Document
from distributed import Client, LocalCluster

from srsat_dask.runtime import plugin
from srsat_dask.runtime.events import Outcome, SceneGrid, ShardState
from srsat_dask.runtime.page.document import EVERY, _Page
from srsat_dask.runtime.runner import run_shards


def work(_shared: None, number: int) -> int:
    """Stand for a shard: a few milliseconds, a small result."""
    time.sleep(0.002)
    return number


def outcome(_number: int) -> Outcome:
    """Say what a harvest would."""
    return Outcome(ShardState.STORED, {"stored": 64}, 64 * 65536)


def seconds(tasks: int, live: bool, watched: bool) -> float:
    """Run so many tasks on a fresh cluster; return the wall time."""
    side = -(-(tasks**0.5) // 1)
    grid = SceneGrid("scene", np.zeros((int(side), int(side)), np.uint8))
    shards = (
        (("scene", number // int(side), number % int(side)), (number,)) for number in range(tasks)
    )
    with (
        LocalCluster(n_workers=1, threads_per_worker=8, processes=False,
                     dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        mock.patch.object(plugin, "register", plugin.register if live else lambda _client: False),
    ):  # fmt: skip
        if watched:
            plugin.register(client)
            page = _Page(cluster.scheduler.plugins[plugin.LivePlugin.name].board)
            document = Document()
            document.add_root(page.root)

            def look() -> None:
                page.update()
                cluster.loop.call_later(EVERY / 1000, look)

            cluster.loop.add_callback(look)
        start = time.perf_counter()
        told = outcome if live else None
        for _ in run_shards(
            client, work, shards, prefix="bench-shard", scenes=[grid], outcome=told
        ):
            pass
        return time.perf_counter() - start


def start_up() -> dict[str, float]:
    """Return the seconds until a worker process is there, bare and with our preload."""
    script = (
        "import time; t = time.perf_counter()\n"
        "from distributed import LocalCluster, Client\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1, {more}"
        " dashboard_address='127.0.0.1:0') as c, Client(c) as client:\n"
        "        client.submit(int, '1').result(); print(time.perf_counter() - t)\n"
    )
    found = {}
    for name, more in (
        ("dask alone", ""),
        ("with ours", "preload=['srsat_dask.runtime.worker'],"),
    ):
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", script.format(more=more)],
                    capture_output=True, text=True, check=True,
                ).stdout
            )
            for _ in range(3)
        ]  # fmt: skip
        found[name] = statistics.median(times)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    kinds = {"without": (False, False), "plugin and metrics": (True, False),
             "and a page watched": (True, True)}  # fmt: skip
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    seconds(200, True, True)  # imports and first calls
    for _ in range(options.rounds):
        for kind, (live, watched) in kinds.items():
            times[kind].append(seconds(options.tasks, live, watched))
    base = statistics.median(times["without"])
    for kind, taken in times.items():
        median = statistics.median(taken)
        print(f"{kind:20} {median:7.2f} s for {options.tasks} tasks, ×{median / base:.3f}")
    for name, taken_to_start in start_up().items():
        print(f"worker start-up, {name:12} {taken_to_start:5.2f} s")


if __name__ == "__main__":
    main()
