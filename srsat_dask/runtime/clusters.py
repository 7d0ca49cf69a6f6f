"""Where the work runs: from a profile's name to a Dask client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import yaml
from dask.typing import no_default
from distributed import Client, LocalCluster, get_client

from srsat_dask.errors import InputError, UnreachableError
from srsat_dask.runtime import worker

CLUSTERS = {
    "local": "distributed.LocalCluster",
    "ssh": "distributed.SSHCluster",
    "slurm": "dask_jobqueue.SLURMCluster",
    "kubernetes": "dask_kubernetes.operator.KubeCluster",
}
"""Kinds of cluster that a YAML profile may name, and the class behind each."""

_CONNECT_TIMEOUT = "15s"

Profile = str | Path


def connect(profile: Profile = "local") -> Client:
    """Start or join a Dask cluster and make it the current one.

    Parameters
    ----------
    profile : str or Path
        ``"local"``: worker processes on this machine, all its cores; ``"threads"``: the same
        inside this process; a scheduler address such as ``"tcp://host:8786"``; or the path of a
        YAML profile with the keys ``cluster`` (local, ssh, slurm, kubernetes), ``options``
        (arguments of that cluster's class), ``scale`` or ``adapt``, and ``config`` (Dask
        configuration).

    Returns
    -------
    distributed.Client
        The client; closing it closes a cluster that it started. ``client.dashboard_link`` is
        the address of the dashboard.

    Raises
    ------
    InputError
        An unknown profile, or a YAML file with unknown keys.
    UnreachableError
        No scheduler answers at the address.
    """
    name = str(profile)
    if name == "local":
        return _start(LocalCluster, {})
    if name == "threads":
        return _start(LocalCluster, {"processes": False})
    if "://" in name:
        try:
            return Client(name, timeout=_CONNECT_TIMEOUT)
        except (OSError, TimeoutError) as error:
            raise UnreachableError(
                f"no Dask scheduler answers at {name}: start one with 'dask scheduler'"
            ) from error
    if name.endswith((".yaml", ".yml")):
        return _connect_yaml(Path(profile))
    raise InputError(
        f"unknown cluster profile {name!r}: give local, threads, a scheduler address such as"
        " tcp://host:8786, or a YAML file"
    )


@contextmanager
def current_client() -> Iterator[Client]:
    """Yield the current Dask client, or threads of this process when there is none."""
    try:
        client = get_client()
    except ValueError:
        with connect("threads") as client:
            yield client
    else:
        yield client


def threads_of(client: Client) -> int:
    """Return the number of threads over all workers of a client's cluster, at least 1."""
    return max(sum(int(n) for n in client.nthreads().values()), 1)


class _OwningClient(Client):
    """A client that closes the cluster it was started with."""

    def close(self, timeout: Any = no_default) -> Any:
        if self.status == "closed":
            # The garbage collector calls this too, at any moment: also while another cluster
            # starts and holds the lock that closing a cluster waits for.
            return
        cluster = self.cluster
        super().close(timeout)
        if cluster is not None:
            cluster.close()


def _start(cluster: Any, options: Mapping[str, Any]) -> Client:
    # Port 0 takes any free port for the dashboard, where a taken 8787 would only warn.
    defaults: dict[str, Any] = {"dashboard_address": "127.0.0.1:0"}
    if cluster is LocalCluster and options.get("processes", True):
        defaults["preload"] = [worker.__name__]
    else:
        worker.quiet_when_cancelled()
    return _OwningClient(cluster(**{**defaults, **options}))


def _connect_yaml(path: Path) -> Client:
    if not path.is_file():
        raise InputError(f"cluster profile {path} does not exist")
    try:
        profile = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"cluster profile {path} is not YAML: {error}") from error
    known = {"cluster", "options", "scale", "adapt", "config"}
    if not isinstance(profile, Mapping) or not set(profile) <= known or "cluster" not in profile:
        raise InputError(f"cluster profile {path} must have the key 'cluster' and of {known} only")
    kind = profile["cluster"]
    if kind not in CLUSTERS:
        raise InputError(f"{path}: cluster {kind!r} is unknown, choose {', '.join(CLUSTERS)}")
    module, name = CLUSTERS[kind].rsplit(".", 1)
    try:
        cluster = getattr(import_module(module), name)
    except ImportError as error:
        raise InputError(
            f"{path}: cluster {kind!r} needs a package: pip install {module.split('.')[0]}"
        ) from error
    dask.config.set(profile.get("config") or {})
    client = _start(cluster, profile.get("options") or {})
    if "adapt" in profile:
        client.cluster.adapt(**profile["adapt"])
    elif "scale" in profile:
        client.cluster.scale(profile["scale"])
    return client
