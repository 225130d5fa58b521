"""Ray's cluster files against Ray's own schema, KubeRay's against a small one by hand."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.kuberay import node_provider

from skeletonllm.train.config import EngineConfig

INFRA = Path(__file__).parents[2] / "infra"

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
QUANTITY = {"type": ["string", "integer"], "pattern": r"^\d+(m|Mi|Gi)?$"}


def exactly(required: dict, optional: dict | None = None) -> dict:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def many(of: dict) -> dict:
    return {"type": "array", "items": of, "minItems": 1}


AMOUNTS = exactly({"cpu": QUANTITY, "memory": QUANTITY}, {"nvidia.com/gpu": QUANTITY})
RESOURCES = exactly({"requests": AMOUNTS, "limits": AMOUNTS})
PROBE = exactly(
    {
        "exec": exactly({"command": many(TEXT)}),
        "periodSeconds": COUNT,
        "timeoutSeconds": COUNT,
        "failureThreshold": COUNT,
    },
    {"initialDelaySeconds": COUNT},
)
CONTAINER = exactly(
    {
        "name": TEXT,
        "image": {**TEXT, "pattern": r":[\w.-]+$"},
        "resources": RESOURCES,
        "readinessProbe": PROBE,
        "livenessProbe": PROBE,
        "volumeMounts": many(exactly({"name": TEXT, "mountPath": TEXT})),
    },
    {
        "ports": many(exactly({"containerPort": COUNT, "name": TEXT})),
        "envFrom": many(exactly({"secretRef": exactly({"name": TEXT, "optional": {"type": "boolean"}})})),
    },
)
VOLUME = exactly(
    {"name": TEXT},
    {
        "persistentVolumeClaim": exactly({"claimName": TEXT}),
        "emptyDir": exactly({"medium": {"const": "Memory"}, "sizeLimit": QUANTITY}),
    },
)
POD = exactly(
    {
        "serviceAccountName": TEXT,
        "securityContext": exactly({"runAsNonRoot": {"const": True}, "runAsUser": COUNT, "fsGroup": COUNT}),
        "containers": many(CONTAINER),
        "volumes": many(VOLUME),
    },
    {
        "terminationGracePeriodSeconds": COUNT,
        "tolerations": many(exactly({"key": TEXT, "operator": TEXT, "effect": TEXT})),
    },
)
TEMPLATE = exactly({"spec": POD})
PARAMETERS = {"type": "object", "additionalProperties": TEXT}
CLUSTER = exactly(
    {
        "rayVersion": {**TEXT, "pattern": r"^\d+\.\d+\.\d+$"},
        "authOptions": exactly({"mode": {"const": "token"}}),
        "headGroupSpec": exactly({"rayStartParams": PARAMETERS, "template": TEMPLATE}),
    },
    {
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": exactly(
            {"upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]}},
            {"idleTimeoutSeconds": COUNT, "resources": RESOURCES},
        ),
        "workerGroupSpecs": many(
            exactly(
                {
                    "groupName": TEXT,
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": PARAMETERS,
                    "template": TEMPLATE,
                }
            )
        ),
    },
)
JOB = exactly(
    {
        "entrypoint": TEXT,
        "jobId": TEXT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
        "backoffLimit": COUNT,
        "shutdownAfterJobFinishes": {"const": True},
        "ttlSecondsAfterFinished": COUNT,
        "rayClusterSpec": CLUSTER,
    }
)


def resource(kind: str, spec: dict) -> dict:
    metadata = exactly({"name": TEXT, "namespace": {"const": "skeletonllm"}})
    return exactly({"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


KINDS = {"raycluster": resource("RayCluster", CLUSTER), "rayjob": resource("RayJob", JOB)}


def read(name: str) -> dict:
    return yaml.safe_load((INFRA / "ray" / f"{name}.yaml").read_text())


def groups_of(name: str) -> list[dict]:
    """The head, then the workers."""
    spec = read(name)["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    return [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())]


def pods(name: str) -> list[dict]:
    return [group["template"]["spec"] for group in groups_of(name)]


def test_the_autoscaler_knows_every_key_of_the_cluster_file():
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    cluster = read("cluster")
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_wrokers": 1}, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    assert cluster["provider"]["use_internal_ips"]
    for name in ("head", "worker"):
        assert "RAY_AUTH_MODE=token" in cluster[f"{name}_start_ray_commands"][-1]


@pytest.mark.parametrize("name", KINDS)
def test_a_kuberay_file_has_the_keys_that_the_operator_knows_and_no_others(name):
    jsonschema.validate(read(name), KINDS[name])
    changed = read(name)
    changed["spec"]["authoptions"] = {"mode": "token"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, KINDS[name])


@pytest.mark.parametrize("name", KINDS)
def test_every_pod_has_its_work_folder_shared_memory_within_its_limit_and_asks_for_what_it_may_use(name):
    for pod in pods(name):
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert mounted["/work"]["persistentVolumeClaim"]["claimName"] == "skeletonllm-work"
        memory = container["resources"]["limits"]["memory"]
        shared = mounted["/dev/shm"]["emptyDir"]["sizeLimit"]
        assert container["resources"]["requests"]["memory"] == memory
        assert int(shared.removesuffix("Gi")) < int(memory.removesuffix("Gi"))
        wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        assert wants_gpu == container["image"].endswith(":gpu")


@pytest.mark.parametrize("name", KINDS)
def test_the_object_store_fits_into_shared_memory(name):
    for group in groups_of(name):
        (shared,) = [one["emptyDir"] for one in group["template"]["spec"]["volumes"] if "emptyDir" in one]
        size = int(shared["sizeLimit"].removesuffix("Gi")) * 2**30
        assert int(group["rayStartParams"]["object-store-memory"]) < size


def test_the_groups_can_grow_and_a_gpu_is_paid_for_only_while_it_is_wanted():
    groups = {group["groupName"]: group for group in read("raycluster")["spec"]["workerGroupSpecs"]}
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert groups["gpu"]["minReplicas"] == 0


def made_for_pods() -> dict[tuple[str, str], dict]:
    """What kubernetes.yaml describes, by kind and name."""
    described = yaml.safe_load_all((INFRA / "kubernetes.yaml").read_text())
    return {(one["kind"], one["metadata"]["name"]): one for one in described}


def test_what_pods_need_is_made_before_them():
    assert set(made_for_pods()) == {
        ("Namespace", "skeletonllm"),
        ("ServiceAccount", "skeletonllm"),
        ("ServiceAccount", "skeletonllm-head"),
        ("PersistentVolumeClaim", "skeletonllm-work"),
    }


def test_the_autoscaler_has_the_token_that_it_opens_and_no_other_pod_has_one():
    assert node_provider.IN_CLUSTER_TOKEN_PATH == "/var/run/secrets/kubernetes.io/serviceaccount/token"
    accounts = {name: one for (kind, name), one in made_for_pods().items() if kind == "ServiceAccount"}
    head, *workers = pods("raycluster")
    assert accounts[head["serviceAccountName"]]["automountServiceAccountToken"]
    for pod in (*workers, *pods("rayjob")):
        assert not accounts[pod["serviceAccountName"]]["automountServiceAccountToken"]


@pytest.mark.parametrize("name", KINDS)
def test_a_pod_with_a_gpu_is_let_onto_its_nodes_and_has_the_time_to_save(name):
    for pod in pods(name):
        if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]:
            assert pod["terminationGracePeriodSeconds"] > 2 * EngineConfig().grace_s
            assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_what_machines_share_is_mounted_before_their_containers_start_whose_user_may_read_the_token():
    cluster = read("cluster")
    assert any("mount " in command for command in cluster["initialization_commands"])
    assert "setup_commands" not in cluster
    assert "--user=0" in cluster["docker"]["run_options"]
    assert list(cluster["file_mounts"]) == ["/root/.ray/auth_token"]


def submitted(tmp_path: Path, *command: str, **environment: str) -> list[str]:
    """What the script gives to Ray."""
    (tmp_path / "ray").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "ray").chmod(0o755)
    done = subprocess.run(
        ["bash", str(INFRA / "ray" / "submit.sh"), *command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "DAY": "2026-11-26", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()[1:] if done.returncode == 0 else [done.stderr]


def test_the_same_command_makes_the_same_job_so_that_ray_refuses_the_second(tmp_path):
    first = submitted(tmp_path, "skeletonllm", "quickstart", "--data", "a b")
    assert first == submitted(tmp_path, "skeletonllm", "quickstart", "--data", "a b")
    assert first[:3] == ["job", "submit", "--submission-id"]
    assert first[-5:] == ["--", "skeletonllm", "quickstart", "--data", "a b"]
    others = (
        submitted(tmp_path, "skeletonllm", "quickstart", "--data", "a", "b"),
        submitted(tmp_path, "skeletonllm", "quickstart", "--data", "a b", ATTEMPT="2"),
        submitted(tmp_path, "skeletonllm", "quickstart", "--data", "a b", DAY="2026-11-27"),
    )
    assert len({first[3], *(other[3] for other in others)}) == 4
    assert "--entrypoint-num-gpus=2" in submitted(tmp_path, "skeletonllm", "train", GPUS="2")
    assert "no command" in submitted(tmp_path)[0]
