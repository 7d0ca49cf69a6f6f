"""Two hosts made of network namespaces, joined by a wire, TLS between them, a folder shared."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import srsat_dask as srsat
from srsat_dask.mosaic.inputs import MosaicScene
from srsat_dask.runtime.clusters import connect
from tests.cluster.conftest import assert_equal_stores, need

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

HEAD, NODE = "srsat-head", "srsat-node"
ADDRESSES = {HEAD: "10.77.0.1", NODE: "10.77.0.2"}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Make both namespaces and the wire between them."""
    need("ip", "openssl")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = []
    try:
        for name in ADDRESSES:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "srsat0", "netns", HEAD, "type", "veth", "peer", "srsat1", "netns", NODE)
        for link, (name, address) in zip(("srsat0", "srsat1"), ADDRESSES.items(), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """Make an authority and a certificate for all; the folder of ``ca.pem``, ``node.pem``."""
    folder = tmp_path / "tls"
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=drill",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node",
            "-keyout", "node.key", "-out", "node.csr")  # fmt: skip
    openssl("x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-out", "node.pem")  # fmt: skip
    return folder


CLIENT = """
import sys
import srsat_dask as srsat
from distributed import get_client
profile, source, output, model = sys.argv[1:]
with srsat.connect(profile) as client:
    client.wait_for_workers(2, timeout=90)
    hosts = {worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
    assert hosts == {"10.77.0.1", "10.77.0.2"}, hosts
    assert all(address.startswith("tls://") for address in client.nthreads()), client.nthreads()
    srsat.upscale_store(source, output, model, shard=512, progress=False)
    done = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert all(done.values()), done
    port = client.scheduler_info()["services"]["dashboard"]
    import requests
    assert requests.get(f"http://10.77.0.1:{port}/srsat", timeout=30).status_code == 200
"""


def test_two_hosts_with_tls_equal_one(
    hosts: None, tls: Path, make_scene: Callable[..., MosaicScene], make_model: Any, tmp_path: Path
) -> None:
    """Both hosts work, every line is encrypted, a client without a certificate stays out."""
    from srsat_dask.model.file import save_model

    scene = make_scene(rows=4, columns=6)
    model = tmp_path / "m.keras"
    save_model(make_model(2, filters=(8,), kernels=(5, 3)), model)
    files = {
        "--tls-ca-file": tls / "ca.pem",
        "--tls-cert": tls / "node.pem",
        "--tls-key": tls / "node.key",
    }
    with_tls = [str(part) for pair in files.items() for part in pair]
    address = f"tls://{ADDRESSES[HEAD]}:8786"

    def on(host: str, *command: str) -> "subprocess.Popen[str]":
        log = (tmp_path / f"{host}-{command[0]}.log").open("w")
        with log:
            return subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, "-m", *command],
                stdout=log, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    started = []
    try:
        started.append(
            on(HEAD, "distributed.cli.dask_scheduler", "--host", address,
               "--dashboard-address", f"{ADDRESSES[HEAD]}:8787", *with_tls)
        )  # fmt: skip
        started += [
            on(host, "distributed.cli.dask_worker", address, "--nthreads", "1",
               "--host", f"tls://{own}", *with_tls)
            for host, own in ADDRESSES.items()
        ]  # fmt: skip
        profile = tmp_path / "scheduler.yaml"
        profile.write_text(
            yaml.safe_dump(
                {
                    "cluster": "scheduler",
                    "options": {"address": address},
                    "tls": {"ca": "tls/ca.pem", "cert": "tls/node.pem", "key": "tls/node.key"},
                }
            )
        )
        time.sleep(3)
        client = subprocess.run(
            ["ip", "netns", "exec", NODE, sys.executable, "-c", CLIENT,
             str(profile), str(scene.store), str(tmp_path / "sr.zarr"), str(model)],
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert client.returncode == 0, client.stderr
        stranger = subprocess.run(
            ["ip", "netns", "exec", NODE, sys.executable, "-c",
             "import srsat_dask, sys; srsat_dask.connect(sys.argv[1])", address],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert stranger.returncode != 0
        assert "InputError" in stranger.stderr or "UnreachableError" in stranger.stderr
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)
    with connect("threads"):
        srsat.upscale_store(scene.store, tmp_path / "sr2.zarr", model, shard=512, progress=False)
    assert_equal_stores(tmp_path / "sr.zarr", tmp_path / "sr2.zarr")
