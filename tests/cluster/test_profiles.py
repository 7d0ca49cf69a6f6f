"""The profiles that are there to be copied: what they say is what their backends take."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask
import jsonschema
import kubernetes_validate
import prometheus_client
import pytest
import yaml
from dask_jobqueue import SLURMCluster
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from srsat_dask.errors import InputError
from srsat_dask.runtime import metrics
from srsat_dask.runtime.board import Board
from srsat_dask.runtime.clusters import CLUSTERS, connect

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


KUBERNETES = "1.31"
"""Version of Kubernetes whose schemas judge."""


@pytest.mark.parametrize("path", sorted(CLUSTER.rglob("*.*")), ids=lambda path: path.name)
def test_no_profile_holds_a_secret(path: Path) -> None:
    """The token's name may stand there, never a value."""
    for line in path.read_text().splitlines():
        found = re.search(r"TOKEN['\"]?\s*[:=]\s*(\S+)", line)
        assert found is None or found[1].lstrip("\"'").startswith("$"), line


def test_local_profile_starts() -> None:
    """The knobs of ``local.yaml`` are Dask's: it connects, spills nothing, and works."""
    with dask.config.set({}), connect(CLUSTER / "local.yaml") as client:
        client.wait_for_workers(2, timeout=60)
        assert client.submit(sum, [1, 2]).result() == 3
        seen = client.run(lambda: os.environ.get("TF_NUM_INTRAOP_THREADS"))
        assert set(seen.values()) == {"1"}


def test_slurm_profile_writes_the_job_it_promises(tmp_path: Path) -> None:
    """Wall time, lifetime before it, cores and memory are in the job's script."""
    (profile,) = documents(CLUSTER / "slurm.yaml")
    assert profile["cluster"] in CLUSTERS
    options = {**profile["options"], "log_directory": str(tmp_path)}
    options["scheduler_options"] = {"dashboard_address": "127.0.0.1:0"}
    with SLURMCluster(**options) as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -t 01:00:00", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=32G",
                 "--lifetime 55m", "--nworkers 8", "export OMP_NUM_THREADS=1"):  # fmt: skip
        assert line in script, script


def operators_schemas() -> dict[str, jsonschema.Draft202012Validator]:
    """Return what the operator checks resources by, as its package brings it."""
    found = files("dask_kubernetes")

    def retrieve(uri: str) -> Resource[Any]:
        path = uri.partition("dask_kubernetes/")[2]
        if not path:  # Kubernetes' own part: checked by its own schemas, below
            named = {
                f"io.k8s.api.core.v1.{kind}": {"type": "object"}
                for kind in ("PodSpec", "ServiceSpec")
            }
            return DRAFT202012.create_resource({"definitions": named})
        return DRAFT202012.create_resource(yaml.safe_load((found / path).read_text()))

    schemas = {}
    for name in ("daskcluster", "daskautoscaler"):
        text = (found / "operator" / "customresources" / f"{name}.yaml").read_text()
        definition = yaml.safe_load(text)
        schemas[definition["spec"]["names"]["kind"]] = jsonschema.Draft202012Validator(
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            registry=Registry(retrieve=retrieve),
        )
    return schemas


def test_kubernetes_files_fit_the_operators_schema() -> None:
    """Each resource is checked against the definition that the operator installs."""
    schemas = operators_schemas()
    resources = documents(CLUSTER / "kubernetes" / "cluster.yaml")
    assert [resource["kind"] for resource in resources] == ["DaskCluster", "DaskAutoscaler"]
    for resource in resources:
        schemas[resource["kind"]].validate(resource)
    resources[0]["spec"]["worker"]["replicas"] = "four"
    with pytest.raises(jsonschema.ValidationError, match="four"):
        schemas["DaskCluster"].validate(resources[0])


def kubernetes_check(kind: str, spec: Any) -> None:
    resource = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_pods_services_and_jobs_fit_kubernetes_schemas() -> None:
    """Strictly: an unknown key is an error."""
    cluster = documents(CLUSTER / "kubernetes" / "cluster.yaml")[0]["spec"]
    kubernetes_check("Pod", cluster["worker"]["spec"])
    kubernetes_check("Pod", cluster["scheduler"]["spec"])
    kubernetes_check("Service", cluster["scheduler"]["service"])
    for resource in documents(CLUSTER / "kubernetes" / "job.yaml"):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    cluster["worker"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="comand"):
        kubernetes_check("Pod", cluster["worker"]["spec"])


def test_files_name_what_is_there() -> None:
    """Claim, service, image and Dockerfile are the same in every file that names them."""
    cluster = documents(CLUSTER / "kubernetes" / "cluster.yaml")[0]
    claim, job = documents(CLUSTER / "kubernetes" / "job.yaml")
    pod = job["spec"]["template"]["spec"]
    assert claim["metadata"]["name"] == pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert f"tcp://{cluster['metadata']['name']}-scheduler:8786" in pod["containers"][0]["args"]
    (compose,) = documents(CLUSTER / "compose.yaml")
    for service in compose["services"].values():
        build = service["build"]
        context = CLUSTER / build["context"]
        text = (context / build["dockerfile"]).read_text()
        for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
            assert all((context / source).exists() for source in line.split())
        assert service["image"] == pod["containers"][0]["image"]


def test_dashboard_draws_metrics_that_exist() -> None:
    """Every name in Grafana's file is one that workers or the scheduler serve."""
    metrics.watch(Board())
    served = set(re.findall(r"# TYPE (srsat_\w+)", prometheus_client.generate_latest().decode()))
    served |= {f"{name}_{part}" for name in served for part in ("bucket", "sum", "count")}
    dashboard = json.loads((CLUSTER / "grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"srsat_\w+", target["expr"])
    }
    assert len(asked) == 8
    assert asked <= served


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster: scheduler", "needs 'address' among its options"),
        ("cluster: scheduler\ntls: {ca: a.pem}", "must hold the files ca, cert and key"),
        ("cluster: local\ntls: {ca: a.pem, cert: b, key: c}", "TLS file .*a.pem does not exist"),
        ("cluster: scheduler\noptions: {address: 'tcp://host'}", "missing port number"),
    ],
)
def test_profiles_of_running_schedulers_are_checked(tmp_path: Path, text: str, said: str) -> None:
    """What is missing is named, before anything is tried."""
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        connect(path)
