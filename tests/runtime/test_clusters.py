"""A profile's name leads to a Dask client, or to a clear error."""

import threading
from pathlib import Path
from typing import Any

import dask.array as da
import distributed
import pytest
import requests
from distributed import Client, LocalCluster, get_client
from distributed.utils import LoopRunner

from srsat_dask.errors import InputError, UnreachableError
from srsat_dask.runtime import clusters
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
        ("cluster: moon-base", "pip install moon_base"),
        ("cluster: [local]", "is unknown, choose local"),
        ("cluster: local\noptions: [1]", "'options' must hold names and values"),
        ("cluster: local\nconfig: 7", "'config' must hold names and values"),
        ("cluster: local\nadapt: [1]", "'adapt' must hold names and values"),
        ("cluster: local\nscale: many", "scale 'many' must be a number of workers"),
        ("cluster: local\nscale: 0", "scale 0 must be a number of workers, at least 1"),
        ("cluster: local\noptions: {n_workers: two}", "does not start with these options"),
    ],
)
def test_yaml_profiles_that_say_nothing_useful_are_refused(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file and the remedy."""
    monkeypatch.setitem(clusters.CLUSTERS, "moon-base", "moon_base.MoonCluster")
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        connect(path)


@pytest.mark.parametrize("processes", ["true", "false"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_options_that_a_cluster_does_not_take_are_named(tmp_path: Path, processes: str) -> None:
    """Dask's own words about an unknown option are in the one line."""
    path = tmp_path / "profile.yaml"
    path.write_text(f"cluster: local\noptions: {{processes: {processes}, n_wokers: 1}}")
    with pytest.raises(InputError, match=r"does not start with these options \(.*'n_wokers'"):
        connect(path)


def test_cluster_without_a_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the first worker ends, and the cluster with it."""
    monkeypatch.setattr("srsat_dask.runtime.clusters._WORKER_TIMEOUT", 0.2)
    monkeypatch.setattr(LocalCluster, "scale", lambda *_: None)
    path = tmp_path / "none.yaml"
    path.write_text("cluster: local\noptions: {processes: false, n_workers: 0}\nscale: 2")
    with pytest.raises(UnreachableError, match=r"no worker of cluster 'local' came in 0\.2 s"):
        connect(path)
    with pytest.raises(ValueError, match="No global client"):
        get_client()


def test_other_clusters_get_the_options_given_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SSHCluster`` and those of dask-jobqueue take no address of a dashboard."""
    given: list[dict[str, Any]] = []

    def ssh(**options: Any) -> LocalCluster:
        given.append(options)
        return LocalCluster(processes=False, n_workers=1, dashboard_address="127.0.0.1:0")

    monkeypatch.setattr(distributed, "SSHCluster", ssh)
    path = tmp_path / "ssh.yaml"
    path.write_text("cluster: ssh\noptions: {hosts: [one, two]}\nscale: 1")
    with connect(path) as client:
        assert threads_of(client) >= 1
    assert given == [{"hosts": ["one", "two"]}]


@pytest.mark.parametrize("profile", ["threads", "local"])
def test_dashboard_link_works(profile: str) -> None:
    """The address that is printed answers."""
    with connect(profile) as client:
        assert requests.get(client.dashboard_link, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "address", ["foo://bar:1", "tcp://host", "tcp://h:notaport", "tcp://", "tcp://127.0.0.1:99999"]
)
def test_addresses_that_are_none_are_refused(address: str) -> None:
    """A scheme that Dask does not know and a port that is none end in one line."""
    with pytest.raises(InputError, match="is not a scheduler's address"):
        connect(address)


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


@pytest.mark.parametrize("address", ["foo://bar:1", "tcp://host", "tcp://127.0.0.1:9"])
def test_refused_address_leaves_dask_as_it_was(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a mistyped address arrays compute without a client, as before."""
    monkeypatch.setattr("srsat_dask.runtime.clusters._CONNECT_TIMEOUT", "1s")
    with pytest.raises((InputError, UnreachableError)):
        connect(address)
    assert da.ones(3).sum().compute() == 3
