import re
import subprocess
from pathlib import Path

import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"
KEYS = {
    *(
        "image",
        "restart",
        "init",
        "security_opt",
        "networks",
        "entrypoint",
        "environment",
        "secrets",
        "volumes",
        "ports",
    ),
    *("depends_on", "healthcheck", "shm_size", "ulimits", "stop_grace_period"),
}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((INFRA / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose) -> dict:
    return compose["services"]


def test_all_that_a_scheduled_retraining_needs_is_there_with_known_keys(services):
    assert list(services) == ["postgres", "prefect-server", "ray-head", "worker"]
    for service in services.values():
        assert set(service) <= KEYS


def test_each_service_is_healthy_before_the_next_one_starts(services):
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped"
    waited_for = {
        (name, other): condition["condition"]
        for name, service in services.items()
        for other, condition in service.get("depends_on", {}).items()
    }
    assert waited_for == {
        ("prefect-server", "postgres"): "service_healthy",
        ("worker", "prefect-server"): "service_healthy",
        ("worker", "ray-head"): "service_healthy",
    }


def test_no_secret_is_in_the_file_and_each_is_a_file_that_is_made_for_it(compose, services):
    for service in services.values():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|TOKEN|KEY|SECRET", key):
                assert re.search("(_FILE|_PATH)$", key), key
                assert value == "${OPENAI_API_KEY_FILE:-}" or value.removeprefix("/run/secrets/") in service["secrets"]
            assert not re.search(r"://[^/]*:[^/]*@", str(value)), key
    made = (INFRA / "secrets.sh").read_text()
    for name, secret in compose["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"
        assert name in made


def test_ports_are_open_to_this_machine_only(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_networks_and_scripts_are_there(compose, services):
    for service in services.values():
        assert set(service["networks"]) <= set(compose["networks"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source.startswith("${")
        script = service.get("entrypoint", ["", ""])[1]
        if script.startswith("/opt/skeletonllm/"):
            assert (INFRA.parent / script.removeprefix("/opt/skeletonllm/")).exists()
    # A run's driver and the cluster's nodes must see the same work folder and the same recordings.
    assert services["worker"]["volumes"] == services["ray-head"]["volumes"]
    for folder in ("SKELETONLLM_SOURCE", "SKELETONLLM_WORKDIR"):
        place = services["worker"]["environment"][folder]
        assert any(
            place.startswith(volume.removesuffix(":ro").split(":")[-1]) for volume in services["worker"]["volumes"]
        )


def test_a_server_that_starts_again_still_knows_who_holds_a_slot(services):
    kept = services["prefect-server"]["environment"]["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
    assert kept.endswith("filesystem")


def test_secrets_are_made_once_and_kept(tmp_path):
    script = tmp_path / "secrets.sh"
    script.write_text((INFRA / "secrets.sh").read_text())
    contents = []
    for _ in range(2):
        subprocess.run(["bash", str(script)], check=True, capture_output=True)
        contents.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"postgres_password", "ray_token", "teacher_key"}
    assert re.fullmatch("[0-9a-f]{64}", contents[0]["ray_token"])
    assert contents[0]["ray_token"] != contents[0]["postgres_password"]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
