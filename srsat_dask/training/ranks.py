"""Training over several workers: each rank a process beside a Dask worker, the loop here.

The feed and the loop stay in this process. Each batch is dealt out to the ranks, which add up their
gradients among themselves (TensorFlow's ring over gRPC) and so keep the same weights: N ranks take
the step that one would, but for rounding. Requests reach a rank through a Dask actor on its worker,
so only the ranks themselves must reach one another.
"""

import asyncio
import contextlib
import json
import os
import pickle
import socket
import struct
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distributed import Client, get_worker, wait
from distributed.comm import get_address_host

from srsat_dask.errors import InputError, TrainingError
from srsat_dask.training.fit import Arrays, Scores, State
from srsat_dask.training.patches import Patches
from srsat_dask.training.presets import Preset
from srsat_dask.training.trial import THREAD_VARIABLES

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the workers of the ranks are still there."""

GRACE = 3.0
"""Seconds that a rank which cannot go on waits for the one that was lost, to name that instead."""

LOOPBACK = "127.0.0.1"

LENGTH = struct.Struct("<Q")
"""What stands before each request and answer: its length in bytes."""


def check_ranks(ranks: int, preset: Preset) -> None:
    """Raise InputError if a batch cannot be dealt out to so many ranks."""
    if not 1 <= ranks <= preset.batch:
        raise InputError(
            f"ranks {ranks} must be from 1 to the patches of a batch, {preset.batch}: give fewer"
            " ranks or a larger batch"
        )


class Rank:
    """The process of a rank: a Dask actor, on the rank's worker."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the actor

    async def free_port(self) -> int:
        """Return a port that nothing listens on here."""
        with socket.socket() as found:
            found.bind(("", 0))
            port: int = found.getsockname()[1]
            return port

    async def start(self, tf_config: str, sharing: int) -> int:
        """Start the process, one of so many that share the worker's threads; return its id."""
        threads = max(get_worker().state.nthreads // sharing, 1)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "srsat_dask.training.rank",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,
                **dict.fromkeys(THREAD_VARIABLES, str(threads)),
                "KERAS_BACKEND": "tensorflow",
                "TF_CONFIG": tf_config,
            },
        )
        return self._process.pid

    async def ask(self, request: bytes) -> bytes | str:
        """Return the answer to a request, as pickles; or how the process ended instead."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return "was not started"
        try:
            process.stdin.write(LENGTH.pack(len(request)) + request)
            await process.stdin.drain()
            head = await process.stdout.readexactly(LENGTH.size)
            return await process.stdout.readexactly(*LENGTH.unpack(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            status = await process.wait()
            if status < 0:
                return f"was killed by signal {-status}"
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines()
            return f"ended with status {status}: {(lines or ['no word of it'])[-1]}"

    async def stop(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Ranks:
    """The trainer of several ranks: what `KerasTrainer` is for one.

    Parameters
    ----------
    actors : sequence of Actor
        A started `Rank` for each.
    workers : sequence of str
        Their workers.
    pids : sequence of int
        Their processes' ids.
    client : distributed.Client
        Where the workers are.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        workers: Sequence[str],
        pids: Sequence[int],
        client: Client,
    ) -> None:
        self._actors, self._client = actors, client
        self.workers, self.pids = tuple(workers), tuple(pids)

    def start(
        self,
        config: dict[str, Any],
        preset: Preset,
        validation: Sequence[Patches],
        weights: Arrays,
    ) -> None:
        """Let each rank make its network; the parameters are those of `RankTrainer`."""
        self._ask(
            [
                ("start", (config, preset, validation if rank == 0 else [], weights))
                for rank in range(len(self._actors))
            ]
        )

    def step(self, patches: Patches, rate: float) -> Scores:
        """Learn from one batch, dealt out patch by patch."""
        ranks = len(self._actors)
        scores: Scores = self._ask(
            [("step", (patches.take(slice(rank, None, ranks)), rate)) for rank in range(ranks)]
        )
        return scores

    def validate(self) -> Scores:
        """Judge the present weights by the validation patches, in the first rank."""
        scores: Scores = self._ask([("validate", ())])
        return scores

    def state(self) -> State:
        """Return a copy of weights and optimizer, which are the same in all ranks."""
        state: State = self._ask([("state", ())])
        return state

    def restore(self, state: State) -> None:
        """Go back to a state."""
        self._ask([("restore", (state,))] * len(self._actors))

    def _ask(self, requests: Sequence[tuple[str, tuple[Any, ...]]]) -> Any:
        """Send each of the first ranks its request, and return the first one's answer."""
        return self._client.sync(self._answers, [pickle.dumps(request) for request in requests])

    async def _answers(self, requests: Sequence[bytes]) -> Any:
        asked = {
            asyncio.ensure_future(_answer(actor, request)): rank
            for rank, (actor, request) in enumerate(zip(self._actors, requests, strict=False))
        }
        waiting = set(asked)
        found: dict[int, Any] = {}
        broken: dict[int, Any] = {}
        loop = asyncio.get_running_loop()
        until = float("inf")
        try:
            while waiting and loop.time() < until:
                done, waiting = await asyncio.wait(
                    waiting, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    rank, answer = asked[task], task.result()
                    if isinstance(answer, str):
                        raise self._lost(rank, answer)
                    well, value = pickle.loads(answer)  # noqa: S301 - from our own process
                    (found if well else broken)[rank] = value
                if broken:
                    until = min(until, loop.time() + GRACE)
                if not done or broken:
                    await self._look()
            if broken:
                rank = min(broken)
                raise self._lost(rank, f"cannot go on: {broken[rank]}")
        finally:
            for task in waiting:
                task.cancel()
        return found[0]

    async def _look(self) -> None:
        """Raise TrainingError if a rank's worker, or its process, is gone."""
        there = await self._client.scheduler.ncores(workers=None)
        for rank, worker in enumerate(self.workers):
            if worker not in there:
                raise self._lost(rank, "went with its Dask worker")

    def _lost(self, rank: int, how: str) -> TrainingError:
        return TrainingError(
            f"rank {rank} of {len(self._actors)} (process {self.pids[rank]} on"
            f" {self.workers[rank]}) {how}: the training has ended; the same command goes on"
            " from the last checkpoint, with any number of ranks"
        )


@contextmanager
def started_ranks(client: Client, ranks: int) -> Iterator[Ranks]:
    """Start so many ranks, each on a worker of its own where there are enough, and end them after.

    Parameters
    ----------
    client : distributed.Client
        Workers must reach one another at ports of the system's choice, which TensorFlow opens on
        all interfaces and does not encrypt; those of one machine meet at its loopback address.
    ranks : int
        How many.

    Yields
    ------
    Ranks
        To be told what to train.

    Raises
    ------
    InputError
        Keras runs on another backend than TensorFlow.
    """
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise InputError(
            f"several ranks need TensorFlow, Keras runs on {backend}: give KERAS_BACKEND=tensorflow"
            " or one rank"
        )
    addresses = sorted(client.nthreads())
    workers = [addresses[rank % len(addresses)] for rank in range(ranks)]
    name = uuid.uuid4().hex
    futures = [
        client.submit(
            Rank,
            actor=True,
            key=("train-rank", name, rank),
            workers=[worker],
            allow_other_workers=False,
        )
        for rank, worker in enumerate(workers)
    ]
    actors = []
    try:
        wait(futures)
        actors = [future.result() for future in futures]
        hosts = [
            LOOPBACK
            if "://" not in worker or worker.startswith("inproc")
            else get_address_host(worker)
            for worker in workers
        ]
        if len(set(hosts)) == 1:
            hosts = [LOOPBACK] * ranks
        ports = [actor.free_port().result() for actor in actors]
        peers = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
        starting = []
        for rank, actor in enumerate(actors):
            task = {"type": "worker", "index": rank}
            config = json.dumps({"cluster": {"worker": peers}, "task": task})
            starting.append(actor.start(config, workers.count(workers[rank])))
        yield Ranks(actors, workers, [start.result() for start in starting], client)
    finally:
        there = client.nthreads()
        stopping = [
            actor.stop() for actor, worker in zip(actors, workers, strict=False) if worker in there
        ]
        for stop in stopping:
            with contextlib.suppress(OSError, TimeoutError):
                stop.result(timeout=5)
        client.cancel(futures)


async def _answer(actor: Any, request: bytes) -> bytes | str:
    try:
        answer: bytes | str = await actor.ask(request)
    except (OSError, RuntimeError, KeyError) as error:
        return f"cannot be reached ({error})"
    return answer
