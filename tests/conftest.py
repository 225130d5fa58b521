"""Settings for every test: CPU, offline, no telemetry, one thread, JIT builds in a folder of their own."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_BUILDS = tempfile.mkdtemp(prefix="torch-extensions-")
atexit.register(shutil.rmtree, _BUILDS, ignore_errors=True)
_SETTINGS = {
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_EXTENSIONS_DIR": _BUILDS,
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

import hypothesis  # noqa: E402  the settings above come first
import pytest  # noqa: E402

# A shared machine stalls now and then: how long an example takes says nothing about the code.
# The same examples every time: what lands does not depend on luck. `--hypothesis-profile=search` looks for new ones.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("here")


def pytest_collection_modifyitems(items):
    """The longest file first, so that a second process has all the others to itself meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray for the whole run, started by our own code."""
    import ray

    from pipelines.executor import start_ray

    start_ray()
    yield
    ray.shutdown()


_KEYS = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="session")
def bucket_options():
    """Of a local S3 server, with a bucket named `bucket`."""
    import pyarrow.fs

    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("s3_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    options = f"scheme=http&endpoint_override=127.0.0.1:{int(server.stdout.readline())}&region=us-east-1"
    making, _ = pyarrow.fs.FileSystem.from_uri(f"s3://AKIDTEST:hush@bucket?{options}&allow_bucket_creation=true")
    making.create_dir("bucket")
    yield options
    server.communicate(timeout=30)


@pytest.fixture
def bucket(bucket_options, tmp_path, monkeypatch):
    """A prefix in the bucket for each test, with keys in the environment; copies go to the test's own folder."""
    from skeletonllm.shards import storage

    for name, value in _KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "_file_systems", {})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return storage.locate(f"s3://bucket/{tmp_path.name}?{bucket_options}")
