import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import skeletonllm
from skeletonllm.errors import CheckpointError, ConfigError, DataError
from skeletonllm.render import build_renderer
from skeletonllm.render import paper as module
from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.paper import _SHAPES
from skeletonllm.render.renderer import Renderer
from tests.makers import make_clip

RELEASED = Path(__file__).parents[4] / "shared" / "data" / "paper_weights"


def made_weights(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weights as a released file has them, of numbers made on the spot."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in _SHAPES.items()}
    weights["canonical_quats"] = torch.tensor([1.0, 0, 0, 0]).repeat(265, 1)
    weights["canonical_scales"] = torch.full((265, 3), 0.02)
    # Each Gaussian hangs on one joint, at its place.
    owner = torch.arange(265) % 25
    weights["lbs_weights_logits"] = 20 * torch.nn.functional.one_hot(owner, 25).float() - 10
    weights["canonical_means"] = weights["canonical_joints"][owner]
    return {**weights, **changes}


def paper(folder: Path, size: int = 32, **changes: torch.Tensor):
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in made_weights(**changes).items()}, path)
    return build_renderer(RenderConfig(renderer="paper", paper_weights=str(path), num_frames=3, size_px=size))


def seen(num_persons: int = 1, seed: int = 0):
    """People before a Kinect, three metres away."""
    clip = make_clip("a", "kinect_v2_25", num_persons, 12, seed=seed)
    return replace(clip, positions=clip.positions + np.array((0, 0, 3), np.float32))


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released weights are not at {RELEASED}")
@pytest.mark.parametrize("name", ["S001C001P001R001A001", "S001C001P001R001A007"])
def test_the_released_weights_draw_the_pictures_of_the_public_renderer(name) -> None:
    weights = RELEASED / "draction_candidate_01.safetensors"
    config = RenderConfig(renderer="paper", paper_weights=str(weights), num_frames=6, size_px=112)
    renderer = build_renderer(config)
    (clip,) = skeletonllm.read(RELEASED.parent / "ntu_skeleton" / f"{name}.skeleton")
    expected = np.load(RELEASED / "expected_frames.npz")
    with torch.no_grad():
        frames = renderer(renderer.collate_at([renderer.prepare(clip)], [expected[f"{name}_indices"]]))
    np.testing.assert_allclose(frames[0].permute(0, 2, 3, 1), expected[f"{name}_frames"], rtol=0, atol=5e-6)


def test_it_draws_one_and_two_persons_the_same_every_time(tmp_path) -> None:
    renderer = paper(tmp_path)
    clips = [seen(), seen(2)]
    frames = renderer(renderer.collate(clips))
    assert frames.shape == (2, 3, 3, 32, 32)
    assert frames.isfinite().all()
    assert (frames.amax((1, 2, 3, 4)) > 0.02).all()
    assert torch.equal(frames, renderer(renderer.collate(clips)))
    torch.testing.assert_close(frames[:1], renderer(renderer.collate(clips[:1])), rtol=0, atol=1e-6)


def test_the_loss_reaches_every_weight_that_the_paper_trains(tmp_path) -> None:
    renderer = paper(tmp_path)
    renderer(renderer.collate([seen()])).square().sum().backward()
    gradients = {name: weight.grad for name, weight in renderer.named_parameters()}
    assert len(gradients) == 10
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_a_body_that_is_not_seen_is_not_drawn(tmp_path) -> None:
    renderer, clip = paper(tmp_path), seen(2)
    confidence = clip.confidence.copy()
    confidence[1] = 0
    alone = replace(clip, positions=clip.positions[:1], confidence=confidence[:1])
    hidden = replace(clip, confidence=confidence)
    frames = renderer(renderer.collate([alone, hidden]))
    torch.testing.assert_close(frames[0], frames[1], rtol=0, atol=1e-6)


def test_the_picture_does_not_depend_on_the_squares_it_is_drawn_in(tmp_path, monkeypatch) -> None:
    renderer = paper(tmp_path, size=33)
    batch = renderer.collate([seen(2)])
    whole = renderer(batch)
    for size in (9, 1000):
        monkeypatch.setattr(module, "_TILE_PX", size)
        torch.testing.assert_close(renderer(batch), whole, rtol=0, atol=1e-6)


def loop_over_gaussians(renderer: Renderer, batch: RenderBatch, frame: int, size: int) -> np.ndarray:
    """One frame by the formulas as they are written, every Gaussian on every pixel, in double."""
    cloud = renderer.cloud(batch)
    means, colors, opacities, scales = (
        value[0, frame].detach().double().numpy()
        for value in (cloud.means, cloud.colors, cloud.opacities, cloud.scale_across)
    )
    focal = size / 2 / np.tan(np.pi / 6)
    rows, columns = np.mgrid[:size, :size]
    image, passing = np.zeros((3, size, size)), np.ones((size, size))
    for gaussian in np.argsort(means[:, 2], kind="stable"):
        x, y, z = means[gaussian]
        jacobian = np.array(((focal / z, 0, -focal * x / z**2), (0, -focal / z, focal * y / z**2)))
        covariance = scales[gaussian] ** 2 * jacobian @ jacobian.T + 1e-5 * np.eye(2)
        away = np.stack((columns - focal * x / z - size / 2, rows + focal * y / z - size / 2), -1)
        squared = np.einsum("yxi,ij,yxj->yx", away, np.linalg.inv(covariance), away)
        alpha = 1 - np.exp(-opacities[gaussian] * np.exp(-squared / 2))
        image += colors[gaussian][:, None, None] * alpha * passing
        passing *= 1 - alpha
    return image


def test_no_gaussian_is_cut_where_it_could_be_seen(tmp_path) -> None:
    scales = torch.linspace(0.005, 0.4, 265)[:, None].repeat(1, 3)
    renderer = paper(tmp_path, size=48, canonical_scales=scales)
    batch = renderer.collate([seen(2)])
    with torch.no_grad():
        frames = renderer(batch)
    np.testing.assert_allclose(frames[0, 1], loop_over_gaussians(renderer, batch, 1, 48), rtol=0, atol=2e-6)


def test_it_does_not_matter_who_comes_first(tmp_path) -> None:
    renderer, clip = paper(tmp_path), seen(2)
    other = replace(clip, positions=clip.positions[::-1].copy(), confidence=clip.confidence[::-1].copy())
    frames = renderer(renderer.collate([clip, other]))
    torch.testing.assert_close(frames[0], frames[1], rtol=0, atol=1e-6)


def test_a_joint_that_is_lost_for_a_while_is_held_and_one_that_is_never_seen_is_not_drawn(tmp_path) -> None:
    renderer, clip = paper(tmp_path), seen()
    positions, confidence = np.repeat(clip.positions[:, :1], 12, 1), clip.confidence.copy()
    still = replace(clip, positions=positions)
    lost, never = (positions.copy(), confidence.copy()), (positions.copy(), confidence.copy())
    for values in lost:
        values[:, ::2, 7] = 0
    for values in never:
        values[:, :, 7] = 0
    clips = [still, *(replace(clip, positions=places, confidence=trust) for places, trust in (lost, never))]
    batch = renderer.collate(clips)
    frames, opacities = renderer(batch), renderer.cloud(batch).opacities
    torch.testing.assert_close(frames[0], frames[1], rtol=0, atol=1e-6)
    on_hand = torch.arange(265) % 25 == 7
    assert not opacities[2][:, on_hand].any()
    torch.testing.assert_close(opacities[2][:, ~on_hand], opacities[0][:, ~on_hand])


def _flip(positions: np.ndarray) -> np.ndarray:
    return positions * np.array((1, 1, -1), np.float32)


BAD = {
    "behind the sensor": _flip,
    "around the sensor": lambda positions: positions - np.array((0, 0, 3), np.float32),
    "1e6": lambda positions: positions * np.float32(1e6),
    "1e30": lambda positions: positions * np.float32(1e30),
    "1e-30": lambda positions: positions * np.float32(1e-30),
    "one point": lambda positions: positions[:, :, :1] + 0 * positions,
    "one frame": lambda positions: positions[:, :1],
    "nobody": lambda positions: 0 * positions,
}


@pytest.mark.parametrize("what", BAD)
def test_bad_places_give_finite_frames_and_gradients(tmp_path, what) -> None:
    renderer, clip = paper(tmp_path), seen(2)
    positions = BAD[what](clip.positions)
    confidence = (positions != 0).any(-1).astype(np.float32)
    batch = renderer.collate([replace(clip, positions=positions, confidence=confidence)])
    joints = batch.joints.clone().requires_grad_()
    frames = renderer(replace(batch, joints=joints))
    assert frames.isfinite().all()
    for gradient in torch.autograd.grad(frames.square().sum(), [joints, *renderer.parameters()]):
        assert gradient.isfinite().all()


def test_velocities_are_metres_per_second_whatever_the_frame_rate(tmp_path) -> None:
    renderer, times = paper(tmp_path), np.arange(60, dtype=np.float32)[:, None, None] / 60
    walk = seen().positions[:, :1] + times * np.array((0.6, 0, -0.3), np.float32)
    for step in (1, 2, 4):
        positions = np.ascontiguousarray(walk[:, ::step])
        clip = replace(seen(), positions=positions, confidence=np.ones(positions.shape[:3], np.float32), fps=60 / step)
        velocities = renderer.collate([clip]).velocities[:, 1]
        expected = torch.tensor((0.6, 0.0, -0.3)).expand_as(velocities)
        torch.testing.assert_close(velocities, expected, rtol=0, atol=1e-4)


def test_the_modulator_is_told_how_far_a_joint_goes_in_four_frames(tmp_path) -> None:
    weights = {name: torch.zeros(shape) for name, shape in _SHAPES.items() if name.startswith(("appearance", "nfm"))}
    weights["nfm.0.weight"][0, 3] = weights["nfm.2.weight"][0, 0] = weights["nfm.2.weight"][3, 0] = 1
    renderer = paper(tmp_path, **weights, depth_mix_logit=torch.tensor(0.0))
    batch = renderer.collate([seen()])
    with torch.no_grad():
        still, fast = (
            renderer.cloud(replace(batch, velocities=torch.tensor((speed, 0.0, 0.0)).expand_as(batch.velocities)))
            for speed in (0.0, 1.5)
        )
    # 0.2 m in 4/30 s, half of it after the depth ramp.
    change = torch.tensor((0.1, 0.0, 0.0)).expand_as(still.colors)
    torch.testing.assert_close(fast.colors - still.colors, change, rtol=0, atol=1e-5)
    expected = torch.sigmoid(torch.tensor(0.7)) - torch.sigmoid(torch.tensor(0.5))
    torch.testing.assert_close(2 * (fast.opacities - still.opacities), expected.expand_as(still.opacities))
    assert torch.equal(fast.means, still.means)


def test_clips_that_came_from_another_process_are_drawn(tmp_path) -> None:
    renderer = paper(tmp_path)
    clip = pickle.loads(pickle.dumps(seen()))
    assert torch.equal(renderer(renderer.collate([clip])), renderer(renderer.collate([seen()])))


def test_another_topology_is_refused(tmp_path) -> None:
    renderer = paper(tmp_path)
    with pytest.raises(DataError, match=r"clip a: topology coco_17, but .* kinect_v2_25 only"):
        renderer.collate([make_clip("a", "coco_17")])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda weights: weights.pop("nfm.0.bias"), r"no tensor 'nfm.0.bias'"),
        (
            lambda weights: weights.update({"nfm.0.bias": torch.zeros(7)}),
            r"nfm.0.bias has shape \(7,\), must be \(64,\)",
        ),
        (lambda weights: weights["nfm.0.bias"].fill_(1.7e34), r"nfm.0.bias holds 1.7e\+34, which is no weight"),
        (lambda weights: weights["nfm.0.bias"].fill_(float("nan")), r"nfm.0.bias holds nan, which is no weight"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path, damage, says) -> None:
    weights = made_weights()
    damage(weights)
    save_file(weights, tmp_path / "bad.safetensors")
    config = RenderConfig(renderer="paper", paper_weights=str(tmp_path / "bad.safetensors"))
    with pytest.raises(CheckpointError, match=says):
        build_renderer(config)


def test_a_file_that_is_not_there_or_no_safetensors_is_named(tmp_path) -> None:
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("none.safetensors", "text.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name}: cannot be read"):
            build_renderer(RenderConfig(renderer="paper", paper_weights=str(tmp_path / name)))


def test_the_file_goes_with_this_renderer_only() -> None:
    with pytest.raises(ConfigError, match="the file of the released weights goes with the renderer 'paper'"):
        RenderConfig(renderer="paper")
    with pytest.raises(ConfigError, match="and with no other"):
        RenderConfig(paper_weights="a.safetensors")
