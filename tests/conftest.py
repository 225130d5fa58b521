"""Settings for every test: CPU, offline, no telemetry, one thread, JIT builds in a folder of their own."""

import os
import tempfile

_SETTINGS = {
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_EXTENSIONS_DIR": tempfile.mkdtemp(prefix="torch-extensions-"),
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

import hypothesis  # noqa: E402  the settings above come first
import pytest  # noqa: E402

# A shared machine stalls now and then: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True)
hypothesis.settings.load_profile("here")


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray for the whole run, started by our own code."""
    import ray

    from pipelines.executor import start_ray

    start_ray()
    yield
    ray.shutdown()
