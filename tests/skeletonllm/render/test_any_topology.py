"""One set of weights draws every skeleton: random trees, other orders of the joints, fewer joints, all real formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.convert import convert
from skeletonllm.skeleton.formats import Declared
from skeletonllm.skeleton.performers import ACTIONS, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.survey.sheet import pick
from tests.makers import make_clip
from tests.skeletonllm.render.clouds import TINY, any_topology, built, pictures
from tests.skeletonllm.render.test_bad_input import check_drawn
from tests.skeletonllm.render.thinning import FULL, LEVELS, thinned

DATA = Path(__file__).parents[4] / "shared" / "data"
FINE = replace(TINY, num_frames=4, gaussians_per_bone=10)


@settings(max_examples=30)
@given(
    st.integers(5, 133),
    st.sampled_from((2, 3)),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 10**6),
    st.sampled_from(("orthographic", "perspective")),
    st.sampled_from(("fitted", "fixed", "orbit")),
)
def test_any_tree_is_drawn_and_back_propagated_by_the_same_weights(
    joints, dims, persons, length, seed, camera, view
) -> None:
    clip = make_clip(topology=any_topology(joints, seed, dims), num_persons=persons, num_frames=length, seed=seed)
    renderer = built(replace(TINY, camera=camera, view=view))
    frames = check_drawn(renderer, renderer.collate([clip]))
    assert frames.shape == (1, 3, 3, 32, 32)
    assert frames.max() > 0.1


def _in_order(clip: Clip, order: np.ndarray) -> Clip:
    """The same clip with its joints in another order."""
    old, place = clip.topology, np.argsort(order)
    topology = replace(
        old,
        joint_names=tuple(old.joint_names[joint] for joint in order),
        parents=tuple(-1 if old.parents[joint] == -1 else int(place[old.parents[joint]]) for joint in order),
        parts=tuple(old.parts[joint] for joint in order),
        mirror=tuple((int(place[left]), int(place[right])) for left, right in old.mirror),
    )
    return replace(
        clip, topology=topology, positions=clip.positions[:, :, order], confidence=clip.confidence[:, :, order]
    )


@settings(max_examples=20)
@given(
    st.sampled_from(("kinect_v2_25", "smpl_22", "coco_17", "openpose_25")), st.sampled_from(ACTIONS), st.integers(0, 99)
)
def test_the_order_of_the_joints_in_a_format_does_not_show(name, action, seed) -> None:
    topology = TOPOLOGIES[name]
    clip = replace(convert(perform(action, 0, 0, 0, fps=30.0), topology)[0], rotations=None)
    if topology.dims == 2:
        clip = replace(clip, topology=topology, positions=clip.positions * np.array((1, 1, 0), np.float32))
    other = _in_order(clip, np.random.default_rng(seed).permutation(topology.num_joints))
    difference = (pictures([other], FINE) - pictures([clip], FINE)).abs()
    # Where two limbs cross in the same millimetre of depth, the order decides; in 2D that is each crossing of two legs.
    assert difference.mean() < (1e-3 if topology.dims == 3 else 3e-3)


def _performed(action: str) -> Clip:
    return convert(perform(action, 0, 0, 0, fps=30.0), FULL)[0]


def test_thinned_bodies_are_of_one_tree_and_of_the_same_size() -> None:
    for level in LEVELS:
        clip = thinned(_performed("kick"), level)
        assert clip.topology.num_joints == level
        assert {clip.topology.find(part, "left") is not None for part in ("shoulder", "elbow", "knee")} == {True}


def test_a_body_with_fewer_joints_has_nearly_the_same_picture() -> None:
    whole = {action: pictures([_performed(action)], FINE) for action in ACTIONS}

    def differences(action: str) -> list[float]:
        return [
            share_of_difference(pictures([thinned(_performed(action), level)], FINE), whole[action]) for level in LEVELS
        ]

    found = np.array([differences(action) for action in ACTIONS])
    assert not found[:, 0].any()
    # Without 5, 8 and 12 of 25 joints; a hand's tip above the head that is gone also changes how much the camera sees.
    assert (np.median(found, 0) < (0.01, 0.12, 0.18, 0.23)).all()
    assert (found.max(0) < (0.01, 0.3, 0.32, 0.4)).all()
    assert (np.diff(found, axis=1) > -0.01).all()


def share_of_difference(picture: Tensor, reference: Tensor) -> float:
    """The mean difference of two pictures by the mean of one."""
    return float((picture - reference).abs().mean() / reference.mean())


@pytest.mark.parametrize("level", LEVELS)
def test_a_movement_of_few_joints_looks_most_like_itself(level) -> None:
    whole = {action: pictures([_performed(action)], FINE) for action in ACTIONS}
    for action in ACTIONS:
        sparse = pictures([thinned(_performed(action), level)], FINE)
        assert min(ACTIONS, key=lambda other: share_of_difference(sparse, whole[other])) == action


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_one_checkpoint_draws_every_real_format(tmp_path) -> None:
    random = built(replace(TINY, start="random"))
    save_file(random.state_dict(), tmp_path / "renderer.safetensors")
    renderer = built(FINE)
    renderer.load_state_dict(load_file(tmp_path / "renderer.safetensors"))
    drawn = set()
    for folder in sorted(path for path in DATA.iterdir() if path.is_dir()):
        try:
            clips, _ = pick(folder, 3, declared=Declared(fps=30.0))
        except DataError:
            continue
        # A person whom a detector saw in one frame of hundreds may be in none of the sampled ones.
        for clip in (clip for clip in clips if (clip.confidence > 0).any((0, 2)).mean() > 0.3):
            frames = check_drawn(renderer, renderer.collate([clip]))
            lit = frames[0].amax(1) > 0.02
            assert 0.005 < float(lit.float().mean()) < 0.5, (folder.name, clip.clip_id)
            drawn.add((clip.source.format, clip.topology.name))
    assert len({name for _, name in drawn}) >= 20
