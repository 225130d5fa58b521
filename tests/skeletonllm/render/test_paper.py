from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import skeletonllm
from skeletonllm.errors import CheckpointError, ConfigError, DataError
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.paper import _SHAPES
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


def test_the_picture_does_not_depend_on_how_many_rows_are_drawn_at_a_time(tmp_path, monkeypatch) -> None:
    from skeletonllm.render import paper as module

    renderer = paper(tmp_path)
    batch = renderer.collate([seen()])
    whole = renderer(batch)
    monkeypatch.setattr(module, "_CHUNK", 1)
    torch.testing.assert_close(renderer(batch), whole, rtol=0, atol=1e-6)


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
