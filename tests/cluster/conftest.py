"""Clusters in earnest on this machine: SLURM from Debian's packages, two network namespaces."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srsat_dask.mosaic.store import scenes_of


def need(*commands: str) -> None:
    """Skip without these commands, but fail in CI."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def assert_equal_stores(one: Path, other: Path) -> None:
    """Compare pixels, masks and tile states of all scenes, bit for bit."""
    scenes = {scene.name: scene for scene in scenes_of(one)}
    others = {scene.name: scene for scene in scenes_of(other)}
    assert scenes.keys() == others.keys()
    for name, scene in scenes.items():
        for array in ("image", "valid", "tile_state"):
            np.testing.assert_array_equal(
                np.asarray(scene.array(array)[:]), np.asarray(others[name].array(array)[:])
            )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


SLURM_CONF = """
ClusterName=drill
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=drill Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run munged, slurmctld and slurmd on loopback; the folder of their files."""
    need("munged", "slurmctld", "slurmd", "sbatch")
    if os.geteuid() != 0:
        pytest.skip("slurmd needs root")
    folder = Path("/tmp") / f"srsat-slurm-{os.getpid()}"  # noqa: S108  munge wants a short path
    shutil.rmtree(folder, ignore_errors=True)
    for part in (folder, folder / "state", folder / "spool"):
        part.mkdir(mode=0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(
        SLURM_CONF.format(host=host, folder=folder, ports=(free_port(), free_port())).lstrip()
    )
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    daemons = (
        ("munged", "--force", "--foreground", f"--key-file={key}",
         f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
         f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"),
        ("slurmctld", "-D", "-c"),
        ("slurmd", "-D", "-N", host),
    )  # fmt: skip
    started = []
    try:
        for daemon in daemons:
            output = (folder / f"{daemon[0]}.out").open("w")
            started.append(subprocess.Popen(daemon, stdout=output, stderr=subprocess.STDOUT))
            output.close()
            time.sleep(1)
        deadline = time.monotonic() + 60
        while "idle" not in sinfo():
            assert time.monotonic() < deadline, sinfo()
            time.sleep(0.5)
        yield folder
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False, capture_output=True)
        time.sleep(1)
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=20)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def sinfo() -> str:
    return subprocess.run(["sinfo"], capture_output=True, text=True, check=False).stdout


def jobs() -> list[str]:
    """Return the ids of the jobs that run."""
    done = subprocess.run(
        ["squeue", "--noheader", "--states=R", "--format=%i"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()
