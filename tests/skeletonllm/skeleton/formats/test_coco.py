"""MoveNet, AlphaPose and mmpose JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, coco, detect, read
from skeletonllm.skeleton.kinematics import body_size_m
from tests.skeletonllm.skeleton.formats.test_flat import STANDING_17

FPS = Declared(fps=30.0)


def scored(x: float = 0.0, joints: int = 17) -> np.ndarray:
    """The standing person moved by `x`, with joints below the ankles where there are more than 17."""
    below = np.column_stack((np.linspace(480, 530, joints - 17), np.full(joints - 17, 570.0)))
    points = np.concatenate((STANDING_17, below)) + (x, 0.0)  # noqa: RUF005
    return np.column_stack((points, np.full(joints, 0.75)))


def movenet(frames: list[np.ndarray]) -> list:
    return [{"keypoints": [dict(zip(("x", "y", "score"), p, strict=True)) for p in f.tolist()]} for f in frames]


def alphapose(frames: dict[str, list[np.ndarray]]) -> list:
    return [
        {"image_id": name, "category_id": 1, "keypoints": person.ravel().tolist(), "score": 2.5, "idx": n}
        for name, people in frames.items()
        for n, person in enumerate(people)
    ]


def mmpose(frames: list[list[np.ndarray]]) -> list:
    return [
        {
            "frame_id": number,
            "instances": [
                {"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(), "bbox": [[1, 2, 3, 4]]}
                for p in people
            ],
        }
        for number, people in enumerate(frames)
    ]


def saved(folder, content):
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


def test_movenet_frames_are_a_clip_of_one_person(tmp_path):
    path = saved(tmp_path, movenet([scored(), scored()[:0], scored(3)]))
    assert detect(path).name == "coco"
    (clip,) = read(path, declared=FPS)
    assert (clip.clip_id, clip.topology.name, clip.fps) == ("a", "coco_17", 30.0)
    assert clip.positions.shape == (1, 3, 17, 3)
    assert (clip.confidence[0, :, 0] == np.array([0.75, 0, 0.75], np.float32)).all()
    assert body_size_m(clip) == pytest.approx(1.4, rel=1e-3)
    assert clip.positions[0, 0, 5, 0] > clip.positions[0, 0, 6, 0]
    assert clip.positions[0, 0, 0, 1] > clip.positions[0, 0, 15, 1]


def test_alphapose_persons_are_linked_over_images(tmp_path):
    frames = {"12.jpg": [scored(), scored(2000)], "13.jpg": [scored(2000)], "15.jpg": [scored(2000), scored()]}
    path = saved(tmp_path, alphapose(frames))
    assert detect(path).name == "coco"
    (clip,) = read(path, declared=FPS)
    assert clip.positions.shape == (2, 4, 17, 3)
    assert clip.confidence.any(2).tolist() == [[True, True, False, True], [True, False, False, True]]
    assert clip.positions[0, 0, 0, 0] > clip.positions[1, 0, 0, 0]


@pytest.mark.parametrize(
    ("joints", "name"), [(18, "openpose_18"), (26, "coco_wholebody_23"), (133, "coco_wholebody_23")]
)
def test_more_joints_have_their_own_topology(tmp_path, joints, name):
    for content in (alphapose({"v_001.png": [scored(joints=joints)]}), mmpose([[scored(joints=joints)]])):
        (clip,) = read(saved(tmp_path, content), declared=FPS)
        assert clip.topology.name == name


def test_the_feet_of_halpe_are_sorted_by_side(tmp_path):
    points = scored(joints=136)
    points[20:26, 0] = (700, 300, 710, 290, 690, 310)  # big toes, small toes, heels: left first
    (clip,) = read(saved(tmp_path, alphapose({"0.jpg": [points]})), declared=FPS)
    x = dict(zip(clip.topology.joint_names, clip.positions[0, 0, :, 0], strict=True))
    for toe in ("big_toe", "small_toe", "heel"):
        assert x[f"left_{toe}"] > x["left_ankle"] > x["right_ankle"] > x[f"right_{toe}"]


@pytest.mark.parametrize("wrap", [lambda frames: frames, lambda frames: {"meta_info": {}, "instance_info": frames}])
def test_mmpose_frames_are_a_clip(tmp_path, wrap):
    path = saved(tmp_path, wrap(mmpose([[scored()], [], [scored(5), scored(900)]])))
    assert detect(path).name == "coco"
    (clip,) = read(path, declared=FPS)
    assert clip.confidence.any(2).tolist() == [[True, False, True], [False, False, True]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], r"a list of frames or persons"),
        ({"instance_info": 3}, r"found 3"),
        (movenet([scored()[:5]]), r"found 5 joints, expected one of 17"),
        ([{"keypoints": 3}], r"frame 0, key 'keypoints'"),
        ([{"keypoints": []}], r"persons of \[\] joints"),
        ([{"image_id": "a.jpg", "keypoints": [1]}], r"key 'image_id': found 'a.jpg', expected a name with a number"),
        ([{"image_id": "1.jpg", "keypoints": [1, 2]}], r"three numbers for each joint"),
        (alphapose({"1.jpg": [scored()], "9999999999.jpg": [scored()]}), r"only 2 of them"),
        (alphapose({"1.jpg": [scored(), scored(joints=26)]}), r"persons of \[17, 26\] joints"),
        ([{"instances": [{"keypoints": [[1, 2]], "keypoint_scores": []}]}], r"x and y of each joint, and its score"),
        ([*mmpose([[scored()]]), *mmpose([[scored()]])], r"'frame_id', each once"),
        (movenet([np.zeros((17, 3))]), r"no joint of anybody"),
    ],
)
def test_damage_is_one_clear_error(tmp_path, content, says):
    with pytest.raises(FormatError, match=says):
        read(saved(tmp_path, content), "coco", FPS)


def test_the_frame_rate_is_asked_for(tmp_path):
    with pytest.raises(FormatError, match="give it with --fps"):
        read(saved(tmp_path, movenet([scored()])))


@settings(max_examples=100, deadline=None)
@given(
    kind=st.integers(0, 2),
    cut=st.integers(0, 99),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
)
def test_a_cut_or_flipped_file_is_a_format_error_or_a_clip(tmp_path_factory, kind, cut, flips):
    contents = movenet([scored()]), alphapose({"1.jpg": [scored()]}), mmpose([[scored()]])
    path = saved(tmp_path_factory.mktemp("coco"), contents[kind])
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[: len(data) - cut * len(data) // 400]))
    coco.sniff(path, bytes(data[:4096]))
    try:
        (clip,) = coco.read(path, FPS)
    except FormatError:
        return
    assert np.isfinite(clip.positions).all()
