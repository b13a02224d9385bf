"""The base job templates are Prefect's own with a few defaults of ours; nothing else differs."""

from __future__ import annotations

import json
import re

import kubernetes_validate
import pytest
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from tests.infra.files import INFRA, unknown_prefect_settings

KUBERNETES_DEFAULTS = {
    *("env", "image", "namespace", "service_account_name", "finished_job_ttl"),
    *("pod_watch_timeout_seconds", "memory_request", "cpu_request"),
}
OUR_DEFAULTS = {
    "process": {"env"},
    "docker": {"env", "image", "image_pull_policy", "auto_remove", "volumes"},
    "kubernetes-cpu": KUBERNETES_DEFAULTS,
    "kubernetes-gpu": KUBERNETES_DEFAULTS,
}
OUR_VARIABLES = {"kubernetes-cpu": {"gpus"}, "kubernetes-gpu": {"gpus"}}


def template(kind: str) -> dict:
    return json.loads((INFRA / "pools" / f"{kind}.json").read_text())


def prefects_own(kind: str) -> dict:
    worker: type[BaseWorker] = ProcessWorker
    if kind == "docker":
        worker = pytest.importorskip("prefect_docker.worker").DockerWorker
    if kind.startswith("kubernetes"):
        worker = pytest.importorskip("prefect_kubernetes.worker").KubernetesWorker
    return worker.get_default_base_job_template()


@pytest.mark.parametrize("kind", OUR_DEFAULTS)
def test_variables_are_prefects(kind: str) -> None:
    ours, theirs = template(kind)["variables"], prefects_own(kind)["variables"]
    added = ours["properties"].keys() - theirs["properties"].keys()
    assert added == OUR_VARIABLES.get(kind, set())
    for name, variable in theirs["properties"].items():
        expected = dict(variable)
        given = dict(ours["properties"][name])
        if name in OUR_DEFAULTS[kind]:
            assert given.pop("default") is not None
            expected.pop("default", None)
        assert given == expected, name


@pytest.mark.parametrize("kind", OUR_DEFAULTS)
def test_job_configuration_is_prefects(kind: str) -> None:
    ours, theirs = template(kind)["job_configuration"], prefects_own(kind)["job_configuration"]
    if kind.startswith("kubernetes"):
        container = ours["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"].pop("nvidia.com/gpu") == "{{ gpus }}"
        assert container.pop("envFrom") == [{"secretRef": {"name": "bevformer-run"}}]
    assert ours == theirs


@pytest.mark.parametrize("kind", OUR_DEFAULTS)
def test_every_placeholder_is_a_variable(kind: str) -> None:
    content = template(kind)
    placeholders = set(re.findall(r"\{\{ *([a-z_]+) *\}\}", json.dumps(content["job_configuration"])))
    assert placeholders == content["variables"]["properties"].keys()
    assert unknown_prefect_settings(content["variables"]["properties"]["env"]["default"]) == []


@pytest.mark.parametrize(("pool", "image", "gpus"), [("cpu", "bevformer-cpu", 0), ("gpu", "bevformer-gpu", 1)])
def test_the_job_of_a_run_keeps_to_the_schema_and_gets_its_pools_machine(pool: str, image: str, gpus: int) -> None:
    content = template(f"kubernetes-{pool}")
    defaults = {name: item.get("default") for name, item in content["variables"]["properties"].items()}
    defaults |= {"name": "run", "cpu_limit": "4", "memory_limit": "16Gi", "command": ["prefect"], "env": []}
    defaults |= {"labels": {}, "annotations": {}}

    def filled(value: object) -> object:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        if isinstance(value, str) and (whole := re.fullmatch(r"\{\{ *([a-z_]+) *\}\}", value)):
            return defaults[whole[1]]
        return re.sub(r"\{\{ *name *\}\}", "run", value) if isinstance(value, str) else value

    manifest = filled(content["job_configuration"]["job_manifest"])
    pod = manifest["spec"]["template"]["spec"]
    # Prefect's own template has these two in the pod, where Kubernetes ignores them.
    del pod["completions"], pod["parallelism"]
    (container,) = pod["containers"]
    assert container["image"] == image and container["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert "command" not in container  # would take the place of the image's entry point
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
