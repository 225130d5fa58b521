"""Performances: deterministic, human, and each action is what its name says."""

import numpy as np
import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.figure import FIGURE, JOINT
from skeletonllm.skeleton.kinematics import body_size_m, bone_lengths, canonicalise
from skeletonllm.skeleton.performers import ACTIONS, CONFUSABLE, TWO_PERSONS, perform, style_of

PERFORMERS = range(10)


def path_of(clip: Clip, joint: str) -> np.ndarray:
    return clip.positions[0, :, JOINT[joint]]


def lead(performer: int) -> str:
    return style_of(performer, 0).side


def features(clip: Clip, num_frames: int = 12) -> np.ndarray:
    """Canonical wrists, elbows, head, pelvis, knees and ankles at evenly spaced times, the leading side first."""
    side, other = (lead(int(clip.source.subject[1:]) - 1), "right")
    other = "left" if side == "right" else "right"
    names = ["pelvis", "head", *(f"{j}_{s}" for s in (side, other) for j in ("wrist", "elbow", "knee", "ankle"))]
    frames = np.linspace(0, clip.num_frames - 1, num_frames).round().astype(int)
    places = canonicalise(clip).positions[0, frames][:, [JOINT[name] for name in names]]
    return (places * (1 if side == "left" else -1, 1, 1)).ravel()


def test_there_are_enough_actions_and_confusable_pairs_of_them():
    assert len(ACTIONS) >= 12
    assert len(TWO_PERSONS) >= 2
    assert all(one in ACTIONS and other in ACTIONS for one, other in CONFUSABLE)


def test_equal_arguments_give_equal_clips_and_others_do_not():
    first, again = perform("wave", 3, 0, 7), perform("wave", 3, 0, 7)
    np.testing.assert_array_equal(first.positions, again.positions)
    for changed in (perform("wave", 3, 1, 7), perform("wave", 4, 0, 7), perform("wave", 3, 0, 8)):
        assert changed.positions.shape != first.positions.shape or not np.allclose(changed.positions, first.positions)


def test_the_frame_rate_only_samples_the_movement():
    fast, slow = perform("throw", 1, 0, 0, fps=60.0), perform("throw", 1, 0, 0, fps=20.0)
    frames = min(slow.num_frames, fast.num_frames // 3)
    apart = np.linalg.norm(fast.positions[0, ::3][:frames] - slow.positions[0, :frames], axis=-1)
    assert apart.mean() < 0.02


@pytest.mark.parametrize("action", ACTIONS)
def test_a_performance_is_a_human_one(action):
    for performer in PERFORMERS:
        clip = perform(action, performer, 0, 0)
        assert 1.4 <= clip.duration_s <= 3.0
        assert clip.num_persons == (2 if action in TWO_PERSONS else 1)
        assert np.ptp(bone_lengths(clip.positions, FIGURE), axis=1).max() < 1e-4
        assert 1.0 < body_size_m(clip) < 1.8
        # Nobody sinks into the floor, and nobody moves a joint faster than a fast throw.
        assert clip.positions[..., 1].min() > -0.08
        assert np.linalg.norm(np.diff(clip.positions, axis=1), axis=-1).max() * clip.fps < 16
        assert all("{" not in caption for caption in clip.captions)


def test_left_handers_do_one_sided_actions_with_the_left_and_say_so():
    for performer in PERFORMERS:
        side, other = lead(performer), "left" if lead(performer) == "right" else "right"
        for action, joint in (("wave", "wrist"), ("raise hand", "wrist"), ("throw", "wrist"), ("kick", "ankle")):
            clip = perform(action, performer, 0, 0)
            travel = {s: np.ptp(path_of(clip, f"{joint}_{s}"), axis=0).max() for s in (side, other)}
            assert travel[side] > 1.5 * travel[other]
            assert any(side in caption for caption in clip.captions)
    assert {lead(performer) for performer in PERFORMERS} == {"left", "right"}


def test_confusable_actions_differ_in_what_decides():
    for performer in PERFORMERS:
        side = lead(performer)

        def swings(action: str, performer: int = performer, side: str = side) -> int:
            x = path_of(perform(action, performer, 0, 0), f"wrist_{side}")[:, 0]
            steps = np.diff(x[np.abs(np.diff(x, prepend=x[0])) > 0.003])
            return int((np.diff(np.sign(steps)) != 0).sum())

        assert swings("wave") > swings("raise hand")
        pelvis = {action: path_of(perform(action, performer, 0, 0), "pelvis")[:, 1] for action in ACTIONS}
        assert pelvis["sit down"][-1] < pelvis["sit down"][0] - 0.25, "who sits down stays down"
        assert abs(pelvis["squat"][-1] - pelvis["squat"][0]) < 0.1, "who squats comes up again"
        assert pelvis["step up"][-1] > pelvis["step up"][0] + 0.15
        assert abs(pelvis["kick"][-1] - pelvis["kick"][0]) < 0.1
        assert pelvis["jump"].max() > pelvis["jump"][0] + 0.15
        low = {
            action: path_of(perform(action, performer, 0, 0), f"hand_{side}")[:, 1].min()
            for action in ("pick up", "bow")
        }
        assert low["pick up"] < 0.3 < low["bow"]


def test_every_action_is_told_from_the_others_by_its_movement():
    known = {(action, p): features(perform(action, p, 0, 0)) for action in ACTIONS for p in PERFORMERS}
    right = 0
    for (action, performer), here in known.items():
        others = {key: value for key, value in known.items() if key[1] != performer}
        nearest = min(others, key=lambda key: np.linalg.norm(others[key] - here))
        right += nearest[0] == action
    # Chance is 1/14; what remains are pairs that are meant to be close.
    assert right / len(known) > 0.9


def test_two_persons_face_each_other_and_their_hands_meet():
    for performer in PERFORMERS:
        clip = perform("handshake", performer, 0, 0)
        hand = JOINT[f"hand_{lead(performer)}"]
        apart = np.linalg.norm(clip.positions[0, :, hand] - clip.positions[1, :, hand], axis=-1)
        assert apart.min() < 0.2
        noses = clip.positions[:, 0, JOINT["nose"], 2] - clip.positions[:, 0, JOINT["head"], 2]
        assert noses[0] > 0 > noses[1]


def test_an_unknown_action_is_refused():
    with pytest.raises(ConfigError, match="'fly' cannot be simulated; known are wave"):
        perform("fly", 0, 0, 0)
