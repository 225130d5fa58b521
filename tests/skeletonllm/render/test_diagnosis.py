from dataclasses import replace
from pathlib import Path

import pytest
import torch

import skeletonllm
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.diagnosis import PAPER_SPEED_COLOR, SPEED_M_PER_S, diagnose
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose

CONFIG = RenderConfig(num_frames=2, size_px=32, gaussians_per_bone=2)
SHARED = Path(__file__).parents[4] / "shared" / "data"


def found(renderer=None, clips=None, **options):
    renderer = renderer or build_renderer(replace(CONFIG, **options))
    return diagnose(renderer, renderer.collate(clips or [t_pose(), make_clip(topology="coco_17")]))


def test_the_designed_start_shows_motion_and_depth_and_tells_parts_apart() -> None:
    diagnosis = found()
    assert diagnosis.speed_color > 0.2
    assert diagnosis.speed_color_p99 >= diagnosis.speed_color
    assert diagnosis.depth_color > 0.05
    assert diagnosis.part_color > 0.05
    assert diagnosis.shows_motion


def test_a_plain_skeleton_shows_neither() -> None:
    diagnosis = found(build_renderer(replace(CONFIG, renderer="skeleton_2d")))
    assert diagnosis.speed_color == diagnosis.depth_color == diagnosis.speed_opacity == 0
    assert not diagnosis.shows_motion


def test_it_says_what_weights_do() -> None:
    renderer = build_renderer(CONFIG)
    with torch.no_grad():
        renderer.modulator.speed_gain.zero_()
        renderer.modulator.depth_mix.fill_(-30)
    diagnosis = found(renderer)
    assert diagnosis.speed_color == pytest.approx(0, abs=1e-6)
    assert diagnosis.depth_color == pytest.approx(0, abs=1e-6)


def test_it_does_not_depend_on_how_the_clip_itself_moves() -> None:
    renderer = build_renderer(CONFIG)
    batch = renderer.collate([make_clip()])
    faster = replace(batch, velocities=5 * batch.velocities)
    assert diagnose(renderer, batch) == diagnose(renderer, faster)


def test_its_line_names_the_speed_and_its_numbers_have_names() -> None:
    diagnosis = found()
    assert f"{SPEED_M_PER_S} m/s change colour by {diagnosis.speed_color:.4f}" in diagnosis.text()
    assert diagnosis.numbers()["renderer/speed_color"] == diagnosis.speed_color


def test_opacity_and_thickness_that_hang_on_speed_are_found_too() -> None:
    renderer = build_renderer(CONFIG)
    with torch.no_grad():
        renderer.modulator.network.last.weight[3:5].normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    diagnosis = found(renderer)
    assert 0.001 < diagnosis.speed_opacity < diagnosis.speed_opacity_p99
    assert 0.001 < diagnosis.speed_scale < diagnosis.speed_scale_p99


def test_depth_moves_the_whole_body_so_that_its_shape_does_not_change() -> None:
    renderer = build_renderer(replace(CONFIG, cues_off=("depth",)))
    with torch.no_grad():
        renderer.modulator.network.last.weight.normal_(generator=torch.Generator().manual_seed(0))
    diagnosis = found(renderer)
    # A place that is measured from the pelvis stays the same.
    assert (diagnosis.depth_color, diagnosis.depth_opacity, diagnosis.depth_scale) == pytest.approx((0, 0, 0), abs=1e-4)


def test_it_tells_the_depth_mix_and_the_saliency_of_the_renderer_that_has_them() -> None:
    diagnosis = found()
    assert diagnosis.depth_mix == pytest.approx(torch.tensor(-1.2).sigmoid().item())
    assert diagnosis.saliency_still is not None
    assert diagnosis.saliency_moving is not None
    assert diagnosis.saliency_still + 0.2 < diagnosis.saliency_moving < 1
    assert "saliency" in diagnosis.text()
    plain = found(build_renderer(replace(CONFIG, renderer="skeleton_2d")))
    assert plain.depth_mix is plain.saliency_still is plain.saliency_moving is None
    assert plain.numbers().keys() < diagnosis.numbers().keys()


def test_the_designed_start_reacts_more_than_twenty_times_as_much_as_the_released_weights() -> None:
    assert found().times_paper > 20


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the released weights are not at {SHARED}")
@pytest.mark.parametrize(("number", "expected"), [("01", 0.0003), ("02", PAPER_SPEED_COLOR)])
def test_the_released_weights_react_as_little_as_is_said(number, expected) -> None:
    weights = SHARED / "paper_weights" / f"draction_candidate_{number}.safetensors"
    files = sorted((SHARED / "ntu_skeleton").glob("*.skeleton"))
    clips = [clip for file in files for clip in skeletonllm.read(file)]
    diagnosis = found(build_renderer(RenderConfig(renderer="paper", paper_weights=str(weights), num_frames=8)), clips)
    assert diagnosis.speed_color == pytest.approx(expected, rel=0.1)
    assert not diagnosis.shows_motion


def test_where_nothing_was_seen_there_is_nothing_to_say() -> None:
    clip = make_clip()
    hidden = replace(clip, confidence=0 * clip.confidence, positions=0 * clip.positions)
    numbers = found(clips=[hidden]).numbers()
    numbers.pop("renderer/depth_mix")
    assert set(numbers.values()) == {0.0}
