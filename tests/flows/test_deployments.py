from pathlib import Path

import pytest
import yaml

DEPLOYMENTS = Path("infra/prefect/prefect.yaml")
NAMES = [
    "ingest-clips",
    "build-teacher-chains",
    "mine-pairs",
    "train-stages",
    "evaluate",
    "compare-renderers",
    "retrain",
]


@pytest.fixture(scope="module")
def served():
    from flows.__main__ import deployments

    return {deployment.name: deployment for deployment in deployments(DEPLOYMENTS)}


def test_every_deployment_can_be_served_and_is_named_like_its_flow(served):
    assert list(served) == NAMES
    assert all(deployment.flow_name == name for name, deployment in served.items())


def test_retraining_is_scheduled_but_paused(served):
    (schedule,) = served["retrain"].schedules
    assert not schedule.active
    assert all(not served[name].schedules for name in NAMES[:-1])


def test_the_parameters_of_each_deployment_are_known_to_its_flow(served):
    described = yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]
    for one in described:
        known = served[one["name"]]._parameter_openapi_schema.properties
        assert set(one.get("parameters", {})) <= set(known)
