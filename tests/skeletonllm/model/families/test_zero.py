"""The gradient that reaches the renderer under each kind of ZeRO."""

import pytest
import torch

from skeletonllm.model.student import PARTS
from skeletonllm.train.config import EngineConfig
from skeletonllm.train.engine import deepspeed_config, init_distributed
from tests.makers import make_clip
from tests.students import folder_student


def renderer_gradients(folder, zero_stage=None):
    """Of one loss, plainly or with the weights in DeepSpeed's hands."""
    student = folder_student(folder, gradient_checkpointing=True).train()
    student.set_trainable(PARTS)
    weights = dict(student.renderer.named_parameters())
    inputs = (student.renderer.collate([make_clip()]), ["which?"], ["wave"])
    if zero_stage is None:
        student(*inputs).backward()
        return {name: weight.grad for name, weight in weights.items()}
    init_distributed()
    import deepspeed
    from deepspeed.utils import safe_get_full_grad

    settings = deepspeed_config(EngineConfig(), 1)
    settings["zero_optimization"] = {"stage": zero_stage}
    moving = [weight for weight in student.parameters() if weight.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=student, optimizer=torch.optim.AdamW(moving), config={**settings, "gradient_clipping": 0.0}
    )
    engine.backward(engine(*inputs))
    return {name: safe_get_full_grad(weight) for name, weight in weights.items()}


# torch has new names for what DeepSpeed calls.
@pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_the_renderer_gets_the_same_gradient_under_each_zero_stage(family_folder, zero_stage):
    plain = renderer_gradients(family_folder("qwen3_vl"))
    shared = renderer_gradients(family_folder("qwen3_vl"), zero_stage)
    assert plain.keys() == shared.keys()
    for name, gradient in plain.items():
        if gradient is not None:
            torch.testing.assert_close(shared[name], gradient, rtol=1e-4, atol=1e-7)
