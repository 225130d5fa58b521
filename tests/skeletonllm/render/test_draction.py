from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.renderer import Renderer
from skeletonllm.skeleton.clip import Clip
from tests.makers import make_clip, random_topology
from tests.skeletonllm.render.bodies import t_pose, waving, with_joint

SMALL = RenderConfig(num_frames=3, size_px=32, gaussians_per_bone=2)


def renderer(**changes) -> Renderer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_renderer(replace(SMALL, **changes))


def frames_of(clips: list[Clip], **changes) -> Tensor:
    made = renderer(**changes)
    with torch.no_grad():
        return made(made.collate(clips))


def drawn_with_gradients(clips: list[Clip], **changes) -> tuple[Tensor, dict[str, Tensor]]:
    """Frames, and the gradients of a loss that pulls on every pixel differently."""
    made = renderer(**changes)
    frames = made(made.collate(clips))
    pull = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    (frames * pull).sum().backward()
    return frames.detach(), {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}


@settings(max_examples=20)
@given(st.integers(5, 133), st.integers(1, 2), st.integers(1, 5), st.integers(0, 10**6))
def test_any_tree_of_joints_is_drawn_and_back_propagated_by_the_same_weights(joints, persons, length, seed) -> None:
    clip = make_clip(topology=random_topology(joints, seed), num_persons=persons, num_frames=length, seed=seed)
    frames, gradients = drawn_with_gradients([clip])
    assert frames.shape == (1, 3, 3, 32, 32)
    assert 0 <= frames.min() <= frames.max() <= 1
    assert frames.max() > 0.1
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def _lost(clip: Clip, frames: slice, joints: slice = slice(None)) -> Clip:
    positions, confidence = clip.positions.copy(), clip.confidence.copy()
    positions[:, frames, joints], confidence[:, frames, joints] = 0, 0
    return replace(clip, positions=positions, confidence=confidence)


BAD = {
    "joints missing": _lost(make_clip(), slice(None), slice(3, 9)),
    "a frame without joints": _lost(make_clip(), slice(4, 8)),
    "nothing seen at all": _lost(make_clip(), slice(None)),
    "one frame": make_clip(num_frames=1),
    "all joints in one place": replace(make_clip(), positions=np.ones((1, 12, 20, 3), np.float32)),
    "a bone without length": with_joint(t_pose(), "wrist_left", np.array((0.45, 1.45, 0))),
    "persons far apart": replace(
        make_clip(num_persons=2),
        positions=make_clip(num_persons=2).positions + np.array([0, 500], np.float32)[:, None, None, None],
    ),
    "huge coordinates": replace(make_clip(), positions=make_clip().positions * np.float32(1e30)),
    "a joint that jumps": with_joint(t_pose(5), "hand_left", np.array([[0, 0, 0]] * 4 + [[1e20, 0, 0]])),
    "one joint": make_clip(topology=random_topology(1)),
}


@pytest.mark.parametrize("camera", ["orthographic", "perspective"])
@pytest.mark.parametrize("what", BAD)
def test_bad_input_gives_finite_frames_and_gradients(what, camera) -> None:
    frames, gradients = drawn_with_gradients([BAD[what], t_pose()], camera=camera)
    assert frames.isfinite().all()
    assert frames[1].max() > 0.3
    assert len(gradients) > 8
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_what_was_not_seen_is_not_drawn() -> None:
    assert not frames_of([_lost(make_clip(), slice(None))]).any()
    made = renderer()
    batch = made.collate([_lost(t_pose(), slice(None), slice(4, 8))])
    on_arm = ((batch.parent[0] >= 4) & (batch.parent[0] < 8)) | ((batch.child[0] >= 4) & (batch.child[0] < 8))
    opacities = made.cloud(batch).opacities[0]
    assert not opacities[:, on_arm].any()
    assert (opacities[:, ~on_arm] > 0.5).all()


def test_a_clip_looks_the_same_alone_and_beside_others() -> None:
    clip = waving()
    alone = frames_of([clip])
    beside = frames_of([clip, make_clip(topology="coco_17", num_persons=2), t_pose()])
    torch.testing.assert_close(beside[:1], alone, rtol=0, atol=1e-5)


def test_the_person_stands_upright_with_the_left_hand_to_the_right() -> None:
    raised = t_pose()
    for joint, place in (
        ("elbow_left", (0.3, 1.7, 0)),
        ("wrist_left", (0.35, 1.95, 0)),
        ("hand_left", (0.35, 2.05, 0)),
    ):
        raised = with_joint(raised, joint, np.array(place))
    light = frames_of([raised], size_px=64)[0, 0].sum(0)
    rows = light.sum(1).nonzero()[:, 0]
    top = light[rows[0] : rows[0] + 4].sum(0)
    assert int(top.argmax()) > 32


def test_what_moves_is_brighter_and_paler_from_the_first_step() -> None:
    still = t_pose(30)
    times = np.linspace(0, 1, 30)
    path = np.stack((0.8 + 0 * times, 1.45 + 0 * times, 1.5 * np.sin(2 * np.pi * times)), -1)
    moving = with_joint(still, "hand_left", path)
    center = frames_of([still], size_px=64)[0, 1]
    fast = frames_of([moving], size_px=64)[0, 1]
    hand = (slice(None), slice(None), slice(50, 64))
    assert fast[hand].sum() > 1.3 * center[hand].sum()


def test_what_is_nearer_is_drawn_differently() -> None:
    arms = [with_joint(t_pose(), "hand_left", np.array((0.8, 1.45, depth))) for depth in (0.0, 0.6)]
    flat, near = frames_of(arms, size_px=64)[:, 0]
    # Orthographic: nothing of this is size.
    assert (near - flat).abs().max() > 0.05


def test_every_weight_is_a_tensor_with_axes_and_learns() -> None:
    made = renderer()
    _, gradients = drawn_with_gradients([waving(), make_clip(topology="coco_17", num_persons=2)])
    for name, weight in made.named_parameters():
        assert weight.ndim >= 1, name
    silent = {name for name, _ in made.named_parameters() if name not in gradients or not gradients[name].any()}
    # The last layer starts at zero, so those before it learn from the second step on.
    before = [name for name, _ in made.named_parameters() if "network" in name and "last" not in name]
    assert silent <= {"modulator.codes", *before}


def test_training_can_make_a_part_disappear() -> None:
    made = renderer()
    batch = made.collate([waving()])
    optimiser = torch.optim.Adam(made.parameters(), 0.05)
    losses = []
    for _ in range(12):
        loss = made(batch).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_weights_carry_over_to_another_size_and_number_of_gaussians() -> None:
    made, larger = renderer(), renderer(size_px=48, num_frames=5, gaussians_per_bone=6)
    larger.load_state_dict(made.state_dict())
    assert larger(larger.collate([t_pose()])).shape == (1, 5, 3, 48, 48)


def test_the_gradient_of_a_weight_agrees_with_finite_differences() -> None:
    made = renderer(size_px=24, backend="reference").double()
    batch = made.collate([waving()])
    batch = replace(
        batch, **{name: value.double() for name, value in vars(batch).items() if value.dtype == torch.float32}
    )
    pull = torch.rand(made(batch).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        return (made(batch) * pull).sum()

    loss().backward()
    for name, place in (("modulator.colors", (0, 7, 0)), ("modulator.speed_gain", (0,)), ("modulator.offsets", (7, 1))):
        weight = dict(made.named_parameters())[name]
        step, values = 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                values.append(float(loss()))
                weight[place] -= sign * step
        assert weight.grad is not None
        assert float(weight.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-6)


def test_without_a_modulator_motion_changes_nothing() -> None:
    made = renderer(modulator=False)
    batch = made.collate([waving()])
    stopped = replace(batch, velocities=0 * batch.velocities, accelerations=0 * batch.accelerations)
    with torch.no_grad():
        torch.testing.assert_close(made(batch), made(stopped), rtol=0, atol=0)
