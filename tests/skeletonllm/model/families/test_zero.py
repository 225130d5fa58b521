"""The gradient that reaches the renderer under each kind of ZeRO."""

import pytest
import torch
from torch import nn

from skeletonllm.model.student import PARTS
from skeletonllm.train.config import EngineConfig
from skeletonllm.train.engine import deepspeed_config, init_distributed
from tests.makers import make_clip
from tests.students import folder_student


class Behind(nn.Module):
    """A student without its renderer: frames in, loss out."""

    def __init__(self, student):
        super().__init__()
        self.mllm = student.mllm
        self.loss = student._answer_loss

    def forward(self, frames):
        return self.loss(frames, ["which?"], ["wave"])


def new_student(folder):
    student = folder_student(folder, gradient_checkpointing=True).train()
    student.set_trainable(PARTS)
    return student, student.renderer.collate([make_clip()])


def deepspeed_engine(module, zero_stage):
    init_distributed()
    import deepspeed

    settings = deepspeed_config(EngineConfig(), 1)
    settings["zero_optimization"] = {"stage": zero_stage}
    moving = [weight for weight in module.parameters() if weight.requires_grad]
    engine, *_ = deepspeed.initialize(model=module, optimizer=torch.optim.AdamW(moving), config=settings)
    return engine


def assert_plain_gradients(folder, gradients):
    student, batch = new_student(folder)
    student(batch, ["which?"], ["wave"]).backward()
    plain = {name: weight.grad for name, weight in student.renderer.named_parameters() if weight.grad is not None}
    assert any(float(gradient.abs().max()) > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_the_renderer_gets_the_plain_gradient_under_each_zero_stage(family_folder, zero_stage):
    from deepspeed.utils import safe_get_full_grad

    folder = family_folder("qwen3_vl")
    student, batch = new_student(folder)
    engine = deepspeed_engine(student, zero_stage)
    engine.backward(engine(batch, ["which?"], ["wave"]))
    weights = student.renderer.named_parameters()
    assert_plain_gradients(folder, {name: safe_get_full_grad(weight) for name, weight in weights})


# torch has new names for what DeepSpeed calls.
@pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
@pytest.mark.slow
def test_a_renderer_in_front_of_the_engine_gets_the_plain_gradient_when_zero_shares_the_weights(family_folder):
    folder = family_folder("qwen3_vl")
    student, batch = new_student(folder)
    engine = deepspeed_engine(Behind(student), 3)
    engine.backward(engine(student.renderer(batch)))
    assert_plain_gradients(folder, {name: weight.grad for name, weight in student.renderer.named_parameters()})
