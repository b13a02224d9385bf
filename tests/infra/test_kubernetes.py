from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.infra.files import INFRA, unknown_prefect_settings

FOLDER = INFRA / "kubernetes"
MANIFESTS = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
RESOURCES = [resource for path in MANIFESTS for resource in yaml.safe_load_all(path.read_text())]


def by_kind(kind: str) -> dict[str, dict]:
    return {item["metadata"]["name"]: item for item in RESOURCES if item["kind"] == kind}


def pods() -> dict[str, dict]:
    owners = {**by_kind("Deployment"), **by_kind("Job")}
    return {name: owner["spec"]["template"] for name, owner in owners.items()}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_it_keeps_to_the_schema(resource: dict) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_is_strict() -> None:
    broken = {**by_kind("Service")["prefect-server"], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_every_manifest_is_listed() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(name for name in listed if name.endswith(".yaml")) == [path.name for path in MANIFESTS]


def test_it_renders_and_the_workers_get_the_templates() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed here")
    rendered = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True).stdout
    resources = list(yaml.safe_load_all(rendered))
    maps = {item["metadata"]["name"]: item for item in resources if item["kind"] == "ConfigMap"}
    (pools,) = [name for name in maps if name.startswith("bevformer-pools-")]
    for item in resources:
        if item["kind"] == "Deployment" and item["metadata"]["name"].startswith("worker-"):
            pod = item["spec"]["template"]["spec"]
            assert pod["volumes"][0]["configMap"]["name"] == pools
            arguments = pod["containers"][0]["args"]
            path = Path(arguments[arguments.index("--base-job-template") + 1])
            assert path.parent == Path(pod["containers"][0]["volumeMounts"][0]["mountPath"])
            assert path.name in maps[pools]["data"]
    assert all(item["metadata"].get("namespace") == "bevformer" for item in resources if item["kind"] != "Namespace")


def test_references_lead_somewhere() -> None:
    service = by_kind("Service")["prefect-server"]
    server = pods()["prefect-server"]
    assert service["spec"]["selector"].items() <= server["metadata"]["labels"].items()
    accounts = by_kind("ServiceAccount")
    for name, pod in pods().items():
        account = pod["spec"].get("serviceAccountName")
        assert account is None or account in accounts, name
        for container in pod["spec"]["containers"]:
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in by_kind("ConfigMap")
    binding = by_kind("RoleBinding")["bevformer-worker"]
    assert binding["roleRef"]["name"] in by_kind("Role")


def test_prefects_settings_exist() -> None:
    names = list(by_kind("ConfigMap")["prefect-server"]["data"])
    for pod in pods().values():
        names += [item["name"] for container in pod["spec"]["containers"] for item in container.get("env", [])]
    assert unknown_prefect_settings(names) == []


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_worker_is_started_whole_with_its_pools_template(pool: str) -> None:
    (container,) = pods()[f"worker-{pool}"]["spec"]["containers"]
    assert container["args"] == [
        *("prefect", "worker", "start", "--type", "kubernetes", "--pool", pool),
        *("--base-job-template", f"/pools/kubernetes-{pool}.json"),
    ]


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_worker_sees_crashes_where_it_may_look_and_writes_no_password(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = pytest.importorskip("prefect_kubernetes.settings")
    (container,) = pods()[f"worker-{pool}"]["spec"]["containers"]
    for item in container["env"]:
        monkeypatch.setenv(item["name"], item.get("value", "a secret's"))
    found = settings.KubernetesSettings()
    jobs = json.loads((INFRA / "pools" / f"kubernetes-{pool}.json").read_text())
    assert found.observer.enabled
    assert found.observer.namespaces == {jobs["variables"]["properties"]["namespace"]["default"]}
    (job,) = jobs["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert job["envFrom"] == [{"secretRef": {"name": found.worker.api_auth_string_secret_name}}]
    assert found.worker.api_auth_string_secret_key == "PREFECT_API_AUTH_STRING"


def test_every_container_says_what_it_needs() -> None:
    for name, pod in pods().items():
        for container in pod["spec"]["containers"]:
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
