"""Where the work runs: from a profile's name to a Dask client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import yaml
from dask.typing import no_default
from distributed import Client, LocalCluster, get_client, get_worker, performance_report
from distributed.comm import get_address_host
from distributed.security import Security

from srsat_dask.errors import InputError, UnreachableError
from srsat_dask.runtime import plugin, worker

CLUSTERS = {
    "local": "distributed.LocalCluster",
    "scheduler": "distributed.Client",
    "ssh": "distributed.SSHCluster",
    "slurm": "dask_jobqueue.SLURMCluster",
    "kubernetes": "dask_kubernetes.operator.KubeCluster",
}
"""Kinds of cluster that a YAML profile may name, and the class behind each."""

_CONNECT_TIMEOUT = "15s"
_WORKER_TIMEOUT = 300.0
"""Seconds to wait for the first worker of a cluster that a YAML profile scales."""

Profile = str | Path


def connect(profile: Profile = "local") -> Client:
    """Start or join a Dask cluster and make it the current one.

    Parameters
    ----------
    profile : str or Path
        ``"local"``: worker processes on this machine, all its cores; ``"threads"``: the same
        inside this process; a scheduler address such as ``"tcp://host:8786"``; or the path of a
        YAML profile with the keys ``cluster`` (local, ssh, slurm, kubernetes, or scheduler for
        one that runs already), ``options`` (arguments of that class), ``scale`` or ``adapt``,
        ``tls`` (the files ``ca``, ``cert`` and ``key``, beside the profile) and ``config`` (Dask
        configuration). An address such as ``tls://host:8786`` takes the files from Dask's own
        configuration, ``distributed.comm.tls``.

    Returns
    -------
    distributed.Client
        The client; closing it closes a cluster that it started. ``client.dashboard_link`` is
        the address of the dashboard; the page ``srsat`` beside its ``status`` shows our work.

    Raises
    ------
    InputError
        An unknown profile, an address that is none, or a YAML file with unknown keys or options.
    UnreachableError
        No scheduler answers at the address, or no worker of a scaled cluster came.
    """
    client = _connect(profile)
    plugin.register(client)
    return client


def _connect(profile: Profile) -> Client:
    name = str(profile)
    if name == "local":
        return _start(LocalCluster, {})
    if name == "threads":
        return _start(LocalCluster, {"processes": False})
    if "://" in name:
        return _join_address(name)
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


@contextmanager
def reported(path: str | Path | None) -> Iterator[None]:
    """Write Dask's performance report of the body, on the current client; None writes none.

    Raises
    ------
    InputError
        The file does not end in ``.html``, or its folder does not exist.
    """
    if path is None:
        yield
        return
    file = Path(path)
    if file.suffix != ".html" or not file.parent.is_dir():
        raise InputError(f"{path} must end in .html, in a folder that exists")
    with performance_report(str(file)):
        yield


def threads_of(client: Client) -> int:
    """Return the number of threads over all workers of a client's cluster, at least 1."""
    return max(sum(int(n) for n in client.nthreads().values()), 1)


def threads_here() -> int | None:
    """Return the threads of the Dask worker that runs this; None outside one."""
    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return None


def _check_address(address: str) -> None:
    """Raise ValueError for an address that Dask would try in vain, or fail at.

    Before a client is made: one that fails in its first lines leaves itself behind in Dask's
    configuration, and then nothing computes without a client any more.
    """
    get_address_host(address)  # knows the schemes
    parts = urlsplit(address)
    if parts.scheme in {"tcp", "tls"} and not (parts.hostname and parts.port):
        raise ValueError("it needs a host and a port")


def _join_address(name: str, **options: Any) -> Client:
    try:
        _check_address(name)
        return Client(name, timeout=_CONNECT_TIMEOUT, **options)
    except (OSError, TimeoutError) as error:
        raise UnreachableError(
            f"no Dask scheduler answers at {name}: start one with 'dask scheduler'"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is not a scheduler's address ({error}): give one such as tcp://host:8786"
        ) from error


def _join(path: Path, options: dict[str, Any]) -> Client:
    address = options.pop("address", None)
    if not isinstance(address, str):
        raise InputError(f"{path}: cluster 'scheduler' needs 'address' among its options")
    return _join_address(address, **options)


def _security(path: Path, files: Mapping[str, Any]) -> Security:
    """Return what encrypts and admits: one certificate for scheduler, workers and client."""
    if set(files) != {"ca", "cert", "key"}:
        raise InputError(f"{path}: 'tls' must hold the files ca, cert and key, not {set(files)}")
    found = {name: path.parent / str(files[name]) for name in files}
    for file in found.values():
        if not file.is_file():
            raise InputError(f"{path}: the TLS file {file} does not exist")
    ca, cert, key = (str(found[name].resolve()) for name in ("ca", "cert", "key"))
    ends = ("scheduler", "worker", "client")
    return Security(
        require_encryption=True,
        tls_ca_file=ca,
        **{f"tls_{end}_cert": cert for end in ends},
        **{f"tls_{end}_key": key for end in ends},
    )


class _OwningClient(Client):
    """A client that closes the cluster it was started with."""

    @property
    def dashboard_link(self) -> Any:
        """Address of the dashboard, that of this machine where threads talk in memory."""
        # There the scheduler's address names an outer address, where nothing listens.
        link, scheduler = super().dashboard_link, self.scheduler
        if link and scheduler is not None and scheduler.address.startswith("inproc://"):
            host = scheduler.address.removeprefix("inproc://").split("/")[0]
            return link.replace(f"://{host}:", "://127.0.0.1:")
        return link

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
    defaults: dict[str, Any] = {}
    if cluster is LocalCluster:
        # Port 0 takes any free port for the dashboard, where a taken 8787 would only warn.
        defaults["dashboard_address"] = "127.0.0.1:0"
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
    known = {"cluster", "options", "scale", "adapt", "tls", "config"}
    if not isinstance(profile, Mapping) or not set(profile) <= known or "cluster" not in profile:
        raise InputError(f"cluster profile {path} must have the key 'cluster' and of {known} only")
    for key in ("options", "adapt", "tls", "config"):
        if not isinstance(profile.get(key) or {}, Mapping):
            raise InputError(f"{path}: {key!r} must hold names and values, not {profile[key]!r}")
    scale = profile.get("scale")
    if scale is not None and (type(scale) is not int or scale < 1):
        raise InputError(f"{path}: scale {scale!r} must be a number of workers, at least 1")
    kind = profile["cluster"]
    if not isinstance(kind, str) or kind not in CLUSTERS:
        raise InputError(f"{path}: cluster {kind!r} is unknown, choose {', '.join(CLUSTERS)}")
    module, name = CLUSTERS[kind].rsplit(".", 1)
    try:
        cluster = getattr(import_module(module), name)
    except ImportError as error:
        raise InputError(
            f"{path}: cluster {kind!r} needs a package: pip install {module.split('.')[0]}"
        ) from error
    dask.config.set(profile.get("config") or {})
    options = dict(profile.get("options") or {})
    if profile.get("tls"):
        options["security"] = _security(path, profile["tls"])
    if kind == "scheduler":
        return _join(path, options)
    try:
        client = _start(cluster, options)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        # Dask says "failed to start"; why is in the last of the causes.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InputError(
            f"{path}: cluster {kind!r} does not start with these options ({cause})"
        ) from error
    try:
        if "adapt" in profile:
            client.cluster.adapt(**(profile["adapt"] or {}))
        elif scale is not None:
            client.cluster.scale(scale)
            client.wait_for_workers(1, timeout=_WORKER_TIMEOUT)
    except TimeoutError as error:
        client.close()
        raise UnreachableError(
            f"{path}: no worker of cluster {kind!r} came in {_WORKER_TIMEOUT:g} s:"
            " look at its queue or its logs"
        ) from error
    except TypeError as error:
        client.close()
        raise InputError(
            f"{path}: 'adapt' holds what the cluster does not take: {error}"
        ) from error
    return client
