"""Whatever is wrong with a clip: a finite picture with finite gradients, or one clear error."""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.errors import BackendError, DataError
from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.renderer import Renderer
from skeletonllm.skeleton.clip import Clip
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose, waving
from tests.skeletonllm.render.clouds import TINY, any_topology, built

CAMERAS = ("orthographic", "perspective")


@functools.cache
def _compiles() -> bool:
    from skeletonllm.render.rasterize.build import load_kernel

    try:
        load_kernel()
    except BackendError:
        return False
    return True


@pytest.fixture(params=("reference", "cpu"))
def backend(request) -> str:
    if request.param == "cpu" and not _compiles():
        pytest.skip("no C++ compiler")
    return request.param


def check_drawn(renderer: Renderer, batch: RenderBatch) -> Tensor:
    """Frames of a batch, which are in 0 to 1, as are all gradients finite."""
    joints = batch.joints.clone().requires_grad_()
    frames = renderer(replace(batch, joints=joints))
    assert bool(frames.isfinite().all())
    assert 0 <= float(frames.detach().min()) <= float(frames.detach().max()) <= 1
    pull = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    leaves = [joints, *renderer.parameters()]
    for gradient in torch.autograd.grad((frames * pull).sum(), leaves, allow_unused=True):
        assert gradient is None or bool(gradient.isfinite().all())
    return frames.detach()


def changed(clip: Clip, change: Callable[[np.ndarray, np.ndarray], None]) -> Clip:
    """The clip after a change of its positions and confidences in place."""
    positions, confidence = clip.positions.copy(), clip.confidence.copy()
    change(positions, confidence)
    return replace(clip, positions=positions, confidence=confidence)


def _no_number(_: np.ndarray, confidence: np.ndarray) -> None:
    confidence[0, :4, 2] = np.nan
    confidence[0, :4, 3] = np.inf
    confidence[0, :4, 4] = -np.inf
    confidence[0, :4, 5] = 7


def _unseen(joints: slice, frames: slice = slice(None)) -> Callable[[np.ndarray, np.ndarray], None]:
    def change(positions: np.ndarray, confidence: np.ndarray) -> None:
        positions[:, frames, joints] = 0
        confidence[:, frames, joints] = 0

    return change


def _jump(positions: np.ndarray, _: np.ndarray) -> None:
    positions[0, -1, 3] = 3e38
    positions[0, -2, 3] = -3e38


def _one_point(positions: np.ndarray, _: np.ndarray) -> None:
    positions[:] = (1, 2, 3)


def _line(positions: np.ndarray, _: np.ndarray) -> None:
    positions[..., 1:] = 0


def _times(factor: float) -> Callable[[np.ndarray, np.ndarray], None]:
    def change(positions: np.ndarray, _: np.ndarray) -> None:
        positions *= np.float32(factor)

    return change


def _far_by(distance: float) -> Callable[[np.ndarray, np.ndarray], None]:
    def change(positions: np.ndarray, _: np.ndarray) -> None:
        positions += np.float32(distance)

    return change


CHANGES = {
    "confidences that are no shares": _no_number,
    "missing joints": _unseen(slice(3, 9)),
    "a root that is never seen": _unseen(slice(0, 1)),
    "frames in which nothing is seen": _unseen(slice(None), slice(0, 5)),
    "nothing seen at all": _unseen(slice(None)),
    "all joints in one place": _one_point,
    "all joints on a line": _line,
    "a joint that jumps": _jump,
    "coordinates of 1e6": _times(1e6),
    "coordinates of 1e30": _times(1e30),
    "coordinates of 1e-30": _times(1e-30),
    "coordinates below what a float can hold": _times(1e-44),
    "a person at 1e6": _far_by(1e6),
    "a person at 1e30": _far_by(1e30),
}
BODIES = {
    "one person": make_clip(),
    "two persons": make_clip(num_persons=2),
    "2D": make_clip(topology="coco_17"),
    "two persons in 2D": make_clip(topology="coco_17", num_persons=2),
    "a body whose joints turn": waving(),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("who", BODIES)
def test_bad_numbers_give_a_finite_picture_and_finite_gradients(who, what, backend) -> None:
    for camera in CAMERAS:
        renderer = built(replace(TINY, backend=backend, camera=camera))
        frames = check_drawn(renderer, renderer.collate([changed(BODIES[who], CHANGES[what]), t_pose()]))
        assert float(frames[1].max()) > 0.3


@pytest.mark.parametrize(
    "name",
    [
        "skeleton_2d",
        "skeleton_3d_velocity",
        "jtm",
    ],
)
def test_fixed_renderers_bear_bad_numbers_too(name) -> None:
    for who in BODIES.values():
        renderer = built(replace(TINY, renderer=name))
        for change in CHANGES.values():
            check_drawn(renderer, renderer.collate([changed(who, change), t_pose()]))


ODD = {
    "one frame": make_clip(num_frames=1),
    "two frames": make_clip(num_frames=2),
    "a frame in 1000 s": make_clip(fps=0.001),
    "1e5 frames a second": make_clip(fps=1e5),
    "one joint": make_clip(topology=any_topology(1, 0)),
    "two joints": make_clip(topology=any_topology(2, 0)),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_clips_are_drawn(what, backend) -> None:
    for camera in CAMERAS:
        renderer = built(replace(TINY, backend=backend, camera=camera, yaw_jitter=3.0, camera_jitter=0.4))
        for generator in (None, torch.Generator().manual_seed(0)):
            assert check_drawn(renderer, renderer.collate([ODD[what]], generator)).any()


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(BODIES)),
    st.lists(st.tuples(*[st.integers(0, 16)] * 2, st.sampled_from((0.0, 1e-30, 1e6, -1e30, 3e38))), max_size=12),
    st.lists(st.tuples(*[st.integers(0, 16)] * 2, st.sampled_from((0.0, 1e-30, 0.5, np.nan, np.inf))), max_size=12),
    st.sampled_from(CAMERAS),
)
def test_any_mixture_of_bad_numbers_is_drawn(who, places, confidences, camera) -> None:
    clip = BODIES[who]

    def spoil(positions: np.ndarray, confidence: np.ndarray) -> None:
        for joint, axis, value in places:
            positions[0, :: 1 + axis, joint, axis % 3] = value
        for joint, frame, value in confidences:
            confidence[0, frame % clip.num_frames, joint] = value

    renderer = built(replace(TINY, camera=camera))
    check_drawn(renderer, renderer.collate([changed(clip, spoil)]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30, 3e38])
def test_rotations_that_are_none_come_from_the_places(value, backend) -> None:
    body = waving()
    assert body.rotations is not None
    rotations = body.rotations.copy()
    rotations[0, ::2, ::3] = value
    renderer = built(replace(TINY, backend=backend))
    with torch.no_grad():
        renderer.get_parameter("modulator.offsets").normal_(generator=torch.Generator().manual_seed(0))
    batch = renderer.collate([replace(body, rotations=rotations)])
    torch.testing.assert_close(batch.turns.norm(dim=-1), torch.ones(batch.turns.shape[:-1]), rtol=0, atol=1e-4)
    check_drawn(renderer, batch)


@pytest.mark.parametrize("camera", CAMERAS)
def test_who_is_behind_the_camera_is_not_seen_in_perspective(camera, backend) -> None:
    renderer = built(replace(TINY, backend=backend, camera=camera))
    batch = renderer.collate([t_pose(num_persons=2)])
    joints = batch.joints.clone()
    first = joints.shape[2] // 2
    # One behind the camera, one with the camera in the chest.
    away = float(batch.half_width_m[0, 0]) / np.tan(np.radians(30))
    joints[:, :, :first, 2] += away + 5
    joints[:, :, first:, 2] += away - joints[:, :, first:, 2].mean()
    check_drawn(renderer, replace(batch, joints=joints))
    joints[:, :, first:, 2] += 5
    frames = check_drawn(renderer, replace(batch, joints=joints))
    assert bool(frames.any()) == (camera == "orthographic")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_places_that_are_no_numbers_are_refused_by_the_clip(value) -> None:
    with pytest.raises(DataError, match="not finite"):
        changed(make_clip(), lambda positions, _: positions.__setitem__((0, 3, 4), value))


@pytest.mark.parametrize(("persons", "frames"), [(0, 5), (1, 0), (0, 0)])
def test_an_empty_clip_is_refused_by_the_clip(persons, frames) -> None:
    whole = make_clip(num_persons=1, num_frames=5)
    with pytest.raises(DataError, match="at least one of each"):
        replace(whole, positions=whole.positions[:persons, :frames], confidence=whole.confidence[:persons, :frames])


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_frame_rate_that_cannot_be_is_refused_by_the_clip(fps) -> None:
    with pytest.raises(DataError, match="must be positive"):
        make_clip(fps=fps)
