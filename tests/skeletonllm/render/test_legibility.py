import torch

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.legibility import illegibility
from tests.skeletonllm.render.bodies import t_pose, waving

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
