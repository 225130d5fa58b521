"""Random clips with random holes through every writer and its reader: places, holes, rotations and rates come back."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import amass, bvh, humanml3d, ntu, nwucla, pyskl, read
from skeletonllm.skeleton.formats.smpl_body import pose, template_joints
from skeletonllm.skeleton.rotations import from_axis_angle, quaternions
from tests.makers import make_clip

PX_PER_M = 150.0


persons, frames, seeds = st.integers(1, 2), st.integers(1, 12), st.integers(0, 1000)
rates = st.sampled_from([12.5, 25.0, 29.97, 60.0, 120.0])
shares_unseen = st.sampled_from([0.0, 0.1, 0.5, 0.95])


def holed_clip(
    topology: str, frames: int, seed: int, unseen: float, persons: int = 1, levels: Sequence[float] = (1.0,)
) -> Clip:
    """Joints that wander, a share of them not seen; everybody is seen at least once, with one of the confidences."""
    clip = make_clip("a", topology, persons, frames, seed=seed)
    rng = np.random.default_rng(seed)
    seen = rng.random(clip.confidence.shape) >= unseen
    seen[:, -1, 0] = True
    confidence = np.where(seen, rng.choice(levels, seen.shape), 0).astype(np.float32)
    return replace(clip, confidence=confidence, positions=np.where(seen[..., None], clip.positions, 0))


def posed_clip(frames: int, seed: int, fps: float) -> Clip:
    """One body with rotations, in random poses and places."""
    rng = np.random.default_rng(seed)
    turns = from_axis_angle(rng.normal(scale=0.7, size=(frames, 22, 3)))
    places, world = pose(template_joints(), rng.normal(size=(frames, 3)), turns)
    clip = make_clip("a", "smpl_22", num_frames=frames, fps=fps)
    return replace(clip, positions=places[None].astype(np.float32), rotations=quaternions(world)[None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("round_trips")


def in_order_of(back: Clip, clip: Clip) -> Clip:
    """`back` with its persons, of whom the one who moves most comes first, in the order of `clip`; size is free."""
    places = [one.positions / np.linalg.norm(one.positions) for one in (back, clip)]
    order = np.abs(places[0][None] - places[1][:, None]).sum((2, 3, 4)).argmin(1)
    return replace(back, positions=back.positions[order], confidence=back.confidence[order])


def assert_same(back: Clip, clip: Clip, atol: float) -> None:
    """As many frames, the same holes, and the rest within `atol` metres."""
    np.testing.assert_allclose(back.confidence, clip.confidence, atol=1e-3)
    np.testing.assert_array_equal(back.confidence > 0, clip.confidence > 0)
    np.testing.assert_allclose(back.positions, clip.positions, atol=atol)
    assert not back.positions[back.confidence == 0].any()


@settings(max_examples=30)
@given(frames=frames, seed=seeds, unseen=shares_unseen)
def test_ntu(folder, frames, seed, unseen):
    clip = holed_clip("kinect_v2_25", frames, seed, unseen, levels=(0.5, 1.0))
    # Whoever is not seen at all in a frame comes back as another body; who is a person is another test.
    clip.confidence[:, :, 0] = 1
    clip.positions[:, :, 0] = make_clip("a", clip.topology, num_frames=frames, seed=seed).positions[:, :, 0]
    ntu.write(clip, folder / "a.skeleton")
    (back,) = read(folder / "a.skeleton")
    assert_same(back, clip, atol=1e-5)


@settings(max_examples=30)
@given(frames=frames, seed=seeds, unseen=shares_unseen)
def test_nwucla(folder, frames, seed, unseen):
    clip = holed_clip("kinect_v1_20", frames, seed, unseen)
    nwucla.write(clip, folder / "a.json")
    (back,) = read(folder / "a.json")
    assert_same(back, clip, atol=1e-4)  # six digits


@settings(max_examples=30)
@given(persons=persons, frames=frames, seed=seeds, unseen=shares_unseen)
@example(persons=1, frames=3, seed=115, unseen=0.0)  # a joint in the pixel that becomes the origin
def test_pyskl(folder, persons, frames, seed, unseen):
    clip = holed_clip("coco_17", frames, seed, unseen, persons, levels=(0.25, 0.5, 0.9, 1.0))
    pyskl.write([clip], folder / "a.pkl", [0], px_per_m=PX_PER_M)
    back = in_order_of(read(folder / "a.pkl")[0], clip)
    # Pixels carry no scale: the one that fits best.
    scale = (back.positions * clip.positions).sum() / (clip.positions**2).sum()
    scaled = replace(back, positions=(back.positions / scale).astype(np.float32))
    assert_same(scaled, clip, atol=1.0 / PX_PER_M)  # float16: half a pixel beyond 1024


@settings(max_examples=30)
@given(frames=frames, seed=seeds, unseen=shares_unseen)
def test_humanml3d(folder, frames, seed, unseen):
    clip = holed_clip("smpl_22", frames, seed, unseen)
    humanml3d.write(clip, folder / "a.npy")
    (back,) = read(folder / "a.npy")
    seen = clip.confidence > 0
    shift = back.positions[seen][0] - clip.positions[seen][0]
    moved = np.where(seen[..., None], clip.positions + shift, 0).astype(np.float32)
    assert_same(back, replace(clip, positions=moved), atol=1e-5)
    assert back.positions[seen][:, 1].min() == pytest.approx(0, abs=2e-6)


def assert_same_rotations(back: np.ndarray, rotations: np.ndarray) -> None:
    """A quaternion and its negative are one rotation."""
    np.testing.assert_allclose(np.abs((back * rotations).sum(-1)), 1, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(frames=frames, seed=seeds, fps=rates, units_per_m=st.sampled_from([1.0, 100.0, 1000.0]))
def test_bvh(folder, frames, seed, fps, units_per_m):
    clip = posed_clip(frames, seed, fps)
    bvh.write(clip, folder / "a.bvh", units_per_m)
    (back,) = read(folder / "a.bvh")
    order = [back.topology.joint_names.index(name) for name in clip.topology.joint_names]
    np.testing.assert_allclose(back.positions[:, :, order], clip.positions, atol=1e-4)
    assert_same_rotations(back.rotations[:, :, order], clip.rotations)
    assert back.fps == pytest.approx(clip.fps, rel=1e-4)


@settings(max_examples=30)
@given(frames=frames, seed=seeds, fps=rates, unseen=st.sets(st.integers(0, 10)))
def test_amass(folder, frames, seed, fps, unseen):
    clip = posed_clip(frames, seed, fps)
    hidden = [frame for frame in unseen if frame < frames - 1]
    clip.confidence[:, hidden] = 0
    clip.positions[:, hidden] = 0
    amass.write(clip, folder / "a.npz")
    (back,) = read(folder / "a.npz")
    assert_same(back, clip, atol=1e-5)
    kept = np.setdiff1d(np.arange(frames), hidden)
    assert_same_rotations(back.rotations[:, kept], clip.rotations[:, kept])
    assert back.fps == clip.fps
