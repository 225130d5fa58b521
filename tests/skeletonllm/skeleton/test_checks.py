from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.skeleton.checks import REMEDIES, SetCheck, check, sides_of
from skeletonllm.skeleton.checks.landmarks import landmarks_of
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats import find_recordings, read
from skeletonllm.skeleton.performers import ACTIONS, TWO_PERSONS
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, performed_clips

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def clips():
    return performed_clips(ACTIONS)


def moved(clip: Clip, positions: np.ndarray, **changes) -> Clip:
    return replace(clip, positions=np.ascontiguousarray(positions, np.float32), rotations=None, **changes)


def turned(clip: Clip, x: int = 1, y: int = 1, z: int = 1) -> Clip:
    return moved(clip, clip.positions * [x, y, z])


def kinds(clip: Clip) -> list[str]:
    return [finding.kind for finding in check(clip)]


def the(clip: Clip, kind: str):
    (finding,) = [one for one in check(clip) if one.kind == kind]
    return finding


def walk(clips: list[Clip]) -> Clip:
    return next(clip for clip in clips if clip.num_persons == 1 and clip.num_frames > 60)


def pair(clips: list[Clip]) -> Clip:
    return next(clip for clip in clips if clip.action in TWO_PERSONS)


def test_nothing_is_found_in_clean_recordings(clips):
    assert [finding for clip in clips for finding in check(clip)] == []


def test_a_mirrored_body_is_told_by_its_toes_knees_and_forearms(clips):
    for clip in clips:
        mirrored = the(turned(clip, x=-1), "mirrored")
        assert mirrored.level == "error"
        assert "toes -" in mirrored.text


def test_exchanged_names_are_as_wrong_as_a_mirror(clips):
    clip = walk(clips)
    order = np.arange(clip.topology.num_joints)
    for left, right in clip.topology.mirror:
        order[left], order[right] = right, left
    assert "mirrored" in kinds(moved(clip, clip.positions[:, :, order]))


def test_a_turn_is_no_mirror(clips):
    clip = walk(clips)
    assert kinds(turned(clip, x=-1, z=-1)) == []
    assert set(kinds(turned(clip, y=-1, z=-1))) == {"upside-down"}


def test_a_wrong_up_axis_is_told_with_the_right_one(clips):
    clip = walk(clips)
    assert "-y up" in the(turned(clip, y=-1, z=-1), "upside-down").text
    lying = moved(clip, clip.positions[..., [0, 2, 1]] * [1, -1, 1])
    assert "+z up" in the(lying, "lying").text


def test_lying_in_a_picture_is_only_a_note():
    clip = make_clip(topology="coco_17", num_frames=30)
    pose = np.zeros((17, 3))
    pose[:, 0] = np.linspace(0, 1.7, 17)[::-1]
    wobble = np.random.default_rng(0).normal(scale=0.01, size=clip.positions.shape) * [1, 1, 0]
    assert the(moved(clip, pose + wobble), "lying").level == "note"


@pytest.mark.parametrize(("scale", "level"), [(1000, "error"), (0.01, "error"), (1.6, "warning"), (0.5, "warning")])
def test_a_body_of_no_human_size_is_told_with_its_size_and_how_the_unit_was_known(clips, scale, level):
    clip = walk(clips)
    wrong = moved(clip, clip.positions * scale, source=Source(space="m, +y up (by the body's size)"))
    finding = the(wrong, "size")
    assert finding.level == level
    assert "taken as m, +y up" in finding.text
    assert finding.remedy == "say the unit with --unit"


@pytest.mark.parametrize("factor", [1 / 3, 2, 3])
def test_gravity_tells_a_wrong_frame_rate_of_a_jump(clips, factor):
    jump = next(clip for clip in clips if clip.action == "jump")
    finding = the(replace(jump, fps=jump.fps * factor), "fps")
    assert "gravity gives 9.81" in finding.text
    said = float(finding.text.split("at about ")[1].split()[0])
    assert jump.fps / 1.7 < said < jump.fps * 1.7


def test_no_other_rate_is_doubted_because_people_may_be_slow_or_quick(clips):
    for clip in clips:
        if clip.action in ("wave", "clap", "bow"):
            assert kinds(replace(clip, fps=clip.fps * 1.3)) == []


def test_a_pose_that_stands_still_and_frames_that_repeat_are_told_apart(clips):
    clip = walk(clips)
    frozen = clip.positions.copy()
    frozen[:, 15:60] = frozen[:, 15:16]
    assert "the same pose for 1.5 s (45 frames in a row)" in the(moved(clip, frozen), "frozen").text
    twice = moved(clip, np.repeat(clip.positions, 2, axis=1), confidence=np.repeat(clip.confidence, 2, axis=1))
    assert "15 different ones a second, not 30" in the(twice, "repeated-frames").text


def test_somebody_who_never_moves_is_motionless_and_beside_others_a_ghost(clips):
    clip = walk(clips)
    still = np.broadcast_to(clip.positions[:, :1], clip.positions.shape)
    noise = np.random.default_rng(0).normal(scale=0.0002, size=still.shape)
    assert "motionless" in kinds(moved(clip, still + noise))
    two = np.concatenate((clip.positions, still + noise + [1, 0, 0]))
    finding = the(moved(clip, two, confidence=np.ones(two.shape[:3], np.float32)), "ghost")
    assert finding.text.startswith("person 2: no joint moves by more than")


def test_a_body_that_is_much_smaller_than_the_other_is_a_ghost(clips):
    clip = pair(clips)
    small = clip.positions.copy()
    small[1] *= 0.3
    assert "trunk is" in the(moved(clip, small), "ghost").text


def test_a_jump_is_told_with_place_size_and_speed(clips):
    clip = walk(clips)
    torn = clip.positions.copy()
    torn[:, 30:] += [2.0, 0, 0]
    assert "by 2." in the(moved(clip, torn), "jump").text
    assert "after frame 29" in the(moved(clip, torn), "jump").text


def test_a_joint_that_flies_off_for_a_frame_is_a_spike_and_no_jump_of_the_body(clips):
    clip = walk(clips)
    joint = clip.topology.find("wrist", "left")
    torn = clip.positions.copy()
    torn[:, [20, 40, 50], joint] += [0, 3.0, 0]
    found = check(moved(clip, torn))
    assert [(one.kind, one.level) for one in found] == [("spikes", "warning")]
    assert f"in 3 frames, {clip.topology.joint_names[joint]} 3 times" in found[0].text


def test_two_persons_who_exchange_places_are_told_and_not_called_a_jump(clips):
    clip = pair(clips)
    swapped = clip.positions.copy()
    middle = clip.num_frames // 2
    swapped[:, middle:] = swapped[::-1, middle:]
    found = kinds(moved(clip, swapped))
    assert "swap" in found
    assert "jump" not in found
    assert f"after frame {middle - 1}" in the(moved(clip, swapped), "swap").text


def test_bones_that_change_are_no_body(clips):
    clip = walk(clips)
    grown = clip.positions * np.random.default_rng(0).uniform(0.4, 1.6, (1, clip.num_frames, 1, 1))
    assert "bones" in kinds(moved(clip, grown))


def test_lost_frames_are_told_apart_from_single_joints_not_seen(clips):
    clip = walk(clips)
    confidence = clip.confidence.copy()
    confidence[:, 10:15] = 0
    lost = moved(clip, np.where(confidence[..., None] > 0, clip.positions, 0), confidence=confidence)
    assert "5 of" in the(lost, "lost-frames").text
    assert "5 in a row" in the(lost, "lost-frames").text
    assert "unseen" not in kinds(lost)
    confidence = clip.confidence.copy()
    confidence[:, :, clip.topology.find("hand", "left")] = 0
    hidden = moved(clip, np.where(confidence[..., None] > 0, clip.positions, 0), confidence=confidence)
    assert kinds(hidden) == ["unseen"]
    assert "100%" in the(hidden, "unseen").text


def test_a_recording_that_is_centred_on_its_root_is_told():
    clip = performed_clips()[0]
    root = clip.topology.order[0]
    confidence = clip.confidence.copy()
    confidence[:, :, root] = 0
    centred = moved(clip, clip.positions - clip.positions[:, :, root : root + 1], confidence=confidence)
    assert "centred on it" in the(centred, "centred").text


def test_zeros_that_count_as_seen_are_told(clips):
    clip = walk(clips)
    zeros = clip.positions.copy()
    zeros[:, 5, 3] = 0
    assert "zeros" in kinds(moved(clip, zeros))


def test_short_clips_missing_labels_and_people_who_come_and_go_are_told(clips):
    clip = pair(clips)
    assert "short" in kinds(moved(clip, clip.positions[:, :5], confidence=clip.confidence[:, :5]))
    assert the(replace(clip, action=None), "no-action").level == "note"
    confidence = clip.confidence.copy()
    confidence[1, :10] = 0
    gone = moved(clip, np.where(confidence[..., None] > 0, clip.positions, 0), confidence=confidence)
    assert "1 to 2 persons at a time; the number changes 1 times" in the(gone, "persons").text


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_clips_of_any_length_and_topology_are_checked_without_a_warning(name, frames):
    clip = make_clip(topology=name, num_frames=frames, num_persons=2)
    rng = np.random.default_rng(frames)
    confidence = (rng.random(clip.confidence.shape) > 0.5).astype(np.float32)
    confidence[0, 0, 0] = 1
    for scale in (1.0, 1e-20, 1e18):
        hidden = moved(clip, np.where(confidence[..., None] > 0, clip.positions * scale, 0), confidence=confidence)
        assert {finding.kind for finding in check(hidden)} <= set(REMEDIES)


def test_the_worst_comes_first(clips):
    clip = replace(turned(walk(clips), x=-1), action=None)
    assert [finding.level for finding in check(clip)] == ["error", "note"]


def test_a_copy_is_found_among_many(clips):
    seen = SetCheck()
    assert [finding for clip in clips for finding in seen.check(clip, "made")] == []
    (finding,) = seen.check(replace(clips[3], clip_id="again"), "made")
    assert finding == replace(finding, clip_id="again", kind="duplicate")
    assert clips[3].clip_id in finding.text


def test_a_set_tells_that_it_is_mirrored_where_its_clips_cannot():
    """A waving body without toes, whose forearms hardly point anywhere."""
    seen = SetCheck()
    joints = landmarks_of(TOPOLOGIES["florence_15"])
    for number in range(6):
        clip = make_clip(str(number), "florence_15", num_frames=20, seed=number)
        pose = np.random.default_rng(number).normal(scale=0.001, size=clip.positions.shape)
        for part, height, wide in (("shoulders", 1.4, 0.2), ("hips", 0.9, 0.1)):
            for joint, side in zip(getattr(joints, part), (1, -1), strict=True):
                pose[:, :, joint] += [-side * wide, height, 0]
        for arm, side in zip(joints.arms, (1, -1), strict=True):
            pose[:, :, arm.hinge] += [-side * 0.25, 1.15, 0]
            pose[:, :, arm.lower] += [-side * 0.4, 1.2, 0.04]
        found = check(moved(clip, pose))
        assert "mirrored" not in [finding.kind for finding in found]
        seen.check(moved(clip, pose), "florence3d, florence_15")
    (finding,) = seen.findings()
    assert (finding.kind, finding.level, finding.clip_id) == ("mirrored", "error", "florence3d, florence_15")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
@pytest.mark.parametrize(
    ("folder", "most"),
    [("bandai1/data", 0.0), ("bandai2/data", 0.0), ("xia_bvh", 0.0), ("ntu_skeleton", 0.0), ("nwucla/all_sqe", 0.15)],
)
def test_real_people_are_not_mirrored_and_their_mirror_images_are(folder, most):
    files = find_recordings(DATA / folder)[::20] if "nwucla" in folder else find_recordings(DATA / folder)[::4]
    real = [clip for file in files for clip in read(file)]
    assert [clip.clip_id for clip in real if "mirrored" in kinds(clip)] == []
    assert not [finding for clip in real for finding in check(clip) if finding.level == "error"]
    missed = [clip.clip_id for clip in real if "mirrored" not in kinds(turned(clip, x=-1))]
    assert len(missed) <= most * len(real) + 1
    together = SetCheck()
    for clip in real:
        sides = sides_of(turned(clip, x=-1))
        assert sides is not None
        together.check(turned(clip, x=-1), folder)
    assert not missed or [finding.kind for finding in together.findings()] == ["mirrored"]
