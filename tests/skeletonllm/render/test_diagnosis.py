from dataclasses import replace

import pytest
import torch

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.diagnosis import SPEED_M_PER_S, diagnose
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose

CONFIG = RenderConfig(num_frames=2, size_px=32, gaussians_per_bone=2)


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


def test_where_nothing_was_seen_there_is_nothing_to_say() -> None:
    clip = make_clip()
    hidden = replace(clip, confidence=0 * clip.confidence, positions=0 * clip.positions)
    assert found(clips=[hidden]).numbers() == dict.fromkeys(found().numbers(), 0.0)
