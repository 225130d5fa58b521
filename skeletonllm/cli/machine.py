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

    from pipelines.settings import read_settings

    rows = [("python", platform.python_version()), ("platform", platform.platform())]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    settings = read_settings()
    rows += [
        ("cores", str(os.cpu_count())),
        ("memory", f"{memory:.1f} GiB"),
        ("gpus", ", ".join(gpu_names()) or "none"),
        ("compiler", shutil.which("g++") or "none"),
        ("teacher", settings.teacher_model or "kinematic (offline)"),
        ("ray", settings.ray_address or "local"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def gpu_names() -> list[str]:
    """The GPUs that torch can use."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
