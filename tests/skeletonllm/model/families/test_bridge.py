import pytest
import torch
from torch.nn import functional

from skeletonllm.errors import ConfigError
from skeletonllm.model.families.bridge import Pixels
from tests.families import smooth_frames

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.mark.parametrize("size", [(20, 27), (96, 64), (32, 40), (7, 7)])
def test_lanczos_on_any_device_is_torch_s_own_on_the_cpu(size):
    frames = smooth_frames(2, 3, 32)
    ours = Pixels((0.0,) * 3, (1.0,) * 3, "lanczos")(frames, *size)
    torchs = functional.interpolate(frames.flatten(0, 1), size, mode="lanczos", antialias=True)
    torch.testing.assert_close(ours.flatten(0, 1), torchs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
def test_gradients_come_back_through_the_filter(resample):
    frames = smooth_frames(1, 1, 8, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(Pixels((0.5,) * 3, (0.5,) * 3, resample), (frames, 6, 11))


@pytest.mark.parametrize(("number", "name"), [(1, "lanczos"), (2, "bilinear"), (3, "bicubic")])
def test_the_filter_is_the_one_that_the_processor_s_file_numbers(number, name):
    assert Pixels.from_numbers({**HALF, "resample": number}).resample == name


def test_numbers_that_are_missing_or_unknown_are_one_clear_error():
    with pytest.raises(ConfigError, match=r"no image_std: without them .* preprocessor_config.json"):
        Pixels.from_numbers({"image_mean": [0.5] * 3})
    with pytest.raises(ConfigError, match="filter 4"):
        Pixels.from_numbers({**HALF, "resample": 4})
