"""Verbs about the machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    *("skeletonllm", "torch", "transformers", "peft", "deepspeed", "ray", "prefect", "fastapi", "sqlalchemy"),
    *("pyarrow", "openai", "gsplat", "numpy"),
)


def env() -> None:
    """Print what this machine has: paste it into a bug report."""
    import shutil

    import torch

    from pipelines.settings import read_settings

    rows = [("python", platform.python_version()), ("platform", platform.platform())]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    settings = read_settings()
    rows += [
        ("cores", str(os.cpu_count())),
        ("memory", f"{memory:.1f} GiB"),
        ("gpus", ", ".join(gpus) or "none"),
        ("compiler", shutil.which("g++") or "none"),
        ("teacher", settings.teacher_model or "kinematic (offline)"),
        ("ray", settings.ray_address or "local"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
