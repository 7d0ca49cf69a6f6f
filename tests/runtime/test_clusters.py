"""A profile's name leads to a Dask client, or to a clear error."""

import threading
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, get_client
from distributed.utils import LoopRunner

from srsat_dask.errors import InputError, UnreachableError
from srsat_dask.runtime.clusters import connect, current_client, threads_of


def test_threads_run_in_this_process_and_stop_with_the_client() -> None:
    """Closing the client leaves no cluster and no current client behind."""
    with connect("threads") as client:
        cluster = client.cluster
        assert client.submit(lambda: 20 + 1).result() == 21
        assert get_client() is client
        assert threads_of(client) >= 1
    assert cluster.status.name == "closed"
    with pytest.raises(ValueError, match="No global client"):
        get_client()


def test_local_runs_worker_processes() -> None:
    """Tasks run in other processes than this one."""
    import os

    with connect("local") as client:
        assert client.submit(os.getpid).result() != os.getpid()
        assert client.dashboard_link.startswith("http://127.0.0.1:")


def test_address_joins_a_running_scheduler_and_leaves_it_running() -> None:
    """A cluster that we did not start outlives our client."""
    with LocalCluster(processes=False, dashboard_address="127.0.0.1:0") as cluster:
        with connect(cluster.scheduler_address) as client:
            assert client.submit(int, "7").result() == 7
        with Client(cluster) as other:
            assert other.submit(int, "8").result() == 8


def test_current_client_is_taken_or_made() -> None:
    """With a client it is used; without one threads are started and stopped again."""
    with connect("threads") as outer, current_client() as inner:
        assert inner is outer
    with current_client() as made:
        assert made.submit(int, "9").result() == 9
    assert made.status == "closed"


def test_yaml_profile_starts_what_it_says(tmp_path: Path) -> None:
    """Options and scale reach the cluster."""
    path = tmp_path / "two.yaml"
    path.write_text(
        "cluster: local\noptions: {processes: false, n_workers: 1, threads_per_worker: 1}\nscale: 2"
    )
    with connect(path) as client:
        client.wait_for_workers(2, timeout=30)
        assert threads_of(client) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster: moon", "cluster 'moon' is unknown"),
        ("scale: 2", "must have the key 'cluster'"),
        ("cluster: local\nworkers: 2", "must have the key 'cluster' and of"),
        ("- a\n- b", "must have the key 'cluster'"),
        ("a: [", "is not YAML"),
        ("cluster: slurm", "pip install dask_jobqueue"),
    ],
)
def test_yaml_profiles_that_say_nothing_useful_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    """The message names the file and the remedy."""
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        connect(path)


def test_unknown_profiles_are_refused() -> None:
    """A name that is no profile, and a file that is not there."""
    with pytest.raises(InputError, match="unknown cluster profile 'moon'"):
        connect("moon")
    with pytest.raises(InputError, match=r"nothing\.yaml does not exist"):
        connect("nothing.yaml")


def test_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address ends in one clear error."""
    monkeypatch.setattr("srsat_dask.runtime.clusters._CONNECT_TIMEOUT", "1s")
    with pytest.raises(UnreachableError, match="no Dask scheduler answers at tcp:"):
        connect("tcp://127.0.0.1:9")


def test_closed_client_may_be_collected_while_another_starts() -> None:
    """Closing again, as ``__del__`` does, waits for no lock that a starting cluster holds."""
    client = connect("threads")
    client.close()
    assert client.cluster.status.name == "closed"
    again = threading.Thread(target=client.close, daemon=True)
    with LoopRunner._lock:
        again.start()
        again.join(10)
        assert not again.is_alive()
