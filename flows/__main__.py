"""Serve every deployment of `infra/prefect/prefect.yaml` from this process: `python -m flows`.

For one machine. A cluster uses work pools, as the head of that file says.
"""

import importlib
from pathlib import Path
from typing import Any

import yaml
from prefect import serve
from prefect.schedules import Cron

DEPLOYMENTS = Path("infra/prefect/prefect.yaml")


def deployments(path: Path = DEPLOYMENTS) -> list[Any]:
    """The deployments that the file describes, ready to be served."""
    described = yaml.safe_load(path.read_text())["deployments"]
    return [_deployment(one) for one in described]


def _deployment(described: dict[str, Any]) -> Any:
    file, function = described["entrypoint"].split(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    schedules = [
        Cron(one["cron"], timezone=one["timezone"], active=one["active"]) for one in described.get("schedules", ())
    ]
    return getattr(module, function).to_deployment(
        name=described["name"],
        description=described["description"],
        parameters=described.get("parameters", {}),
        concurrency_limit=described.get("concurrency_limit"),
        schedules=schedules or None,
    )


if __name__ == "__main__":
    serve(*deployments())
