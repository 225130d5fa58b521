import subprocess
import sys

import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.render.config import RenderConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 0),
        ("size_px", 0),
        ("hidden", -1),
        ("gaussians_per_bone", -1),
        ("thickness_m", 0.0),
        ("yaw_jitter", -1.0),
    ],
)
def test_a_number_that_cannot_work_is_named_with_its_value(name, value) -> None:
    with pytest.raises(ConfigError, match=f"render.{name} is {value}"):
        RenderConfig(**{name: value})


def test_reading_the_config_does_not_load_torch() -> None:
    code = "import sys, skeletonllm.render.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
