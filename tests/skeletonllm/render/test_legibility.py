from dataclasses import replace

import torch

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.legibility import illegibility
from tests.skeletonllm.render.bodies import t_pose, waving
from tests.students import SMALL, tiny_student

CONFIG = RenderConfig(num_frames=2, size_px=48, gaussians_per_bone=4)


def test_black_is_illegible_white_too_and_a_drawn_person_is_not() -> None:
    renderer = build_renderer(CONFIG)
    drawn = renderer(renderer.collate([waving(), t_pose()])).detach()
    assert float(illegibility(drawn)) < 0.05
    assert float(illegibility(torch.zeros_like(drawn))) > 0.99
    assert float(illegibility(torch.ones_like(drawn))) > 0.99


def test_its_gradient_brings_back_a_renderer_that_has_faded() -> None:
    renderer = build_renderer(CONFIG)
    with torch.no_grad():
        renderer.modulator.opacity.fill_(-3.0)
    batch = renderer.collate([waving()])
    before = illegibility(renderer(batch))
    before.backward()
    gradient = renderer.modulator.opacity.grad
    assert gradient is not None
    assert (gradient <= 0).all()
    assert gradient.any()
    with torch.no_grad():
        renderer.modulator.opacity -= 20 * gradient
    assert illegibility(renderer(batch)) < before


def test_without_weight_the_loss_and_its_gradients_are_the_same_to_the_last_bit_whatever_the_penalty(
    monkeypatch,
) -> None:
    def outcome(legibility: float) -> torch.Tensor:
        student = tiny_student(render=replace(SMALL, legibility=legibility))
        batch = student.renderer.collate([waving(), t_pose()])
        value = student.loss(batch, ["which?"] * 2, ["wave", "bow"])
        value.backward()
        gradients = [weight.grad.flatten() for weight in student.renderer.parameters() if weight.grad is not None]
        return torch.cat([value.detach()[None], *gradients])

    without, with_it = outcome(0.0), outcome(0.5)
    monkeypatch.setattr("skeletonllm.model.student.illegibility", lambda frames: 1e3 * frames.sum())
    assert torch.equal(outcome(0.0), without)
    assert not torch.equal(with_it, without)
