import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import BackboneConfig
from skeletonllm.plain import from_plain
from skeletonllm.train.config import EngineConfig


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "plain", "num_workers": 2}, "'plain' with 2 workers"),
        ({"keep_last": 1}, "engine.keep_last is 1, must be at least 2"),
        ({"keep_best": -1}, "engine.keep_best is -1, must be at least 0"),
        ({"zero_stage": 0, "offload": "optimizer"}, "zero_stage=0; it needs 'deepspeed' and zero_stage 1 or higher"),
        ({"zero_stage": 2, "offload": "optimizer_and_weights"}, "zero_stage 3 or higher"),
        ({"kind": "plain", "offload": "optimizer"}, "engine.kind=plain"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        EngineConfig(**settings)


def test_16_bit_floats_of_the_small_range_cannot_be_asked_for():
    with pytest.raises(ConfigError, match="float16"):
        from_plain(BackboneConfig, {"dtype": "float16"}, "backbone")
