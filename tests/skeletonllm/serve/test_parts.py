import base64
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.parts import clip_of_part, picture_of_part
from skeletonllm.skeleton.formats import plain_numpy
from tests.makers import make_clip, performed_clips

CLIP = make_clip(num_persons=2, num_frames=5)
LIMITS = Limits(max_frames=50)
HUGE_GIF = b"GIF89a" + b"\xff" * 4 + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + b"\xff" * 4 + b"\0\x02\x02\x44\x01\0;"


def numbers(**changes) -> dict:
    return {
        "positions": CLIP.positions.tolist(),
        "fps": 30,
        "topology": "kinect_v1_20",
        "unit": "m",
        "up": "+y",
        **changes,
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int = 40, height: int = 20, format: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(file, format)
    return f"data:image/{format.lower()};base64,{encoded(file.getvalue())}"


def test_numbers_become_the_clip_that_they_are():
    clip = clip_of_part(numbers(), "part", LIMITS)
    np.testing.assert_allclose(clip.positions, CLIP.positions, atol=1e-6)
    assert (clip.topology.name, clip.fps, clip.num_persons) == ("kinect_v1_20", 30.0, 2)


def test_one_person_needs_no_list_of_persons_and_null_is_not_seen():
    positions = CLIP.positions[0].tolist()
    positions[2][3] = [None, None, None]
    clip = clip_of_part(numbers(positions=positions), "part", LIMITS)
    assert clip.num_persons == 1
    assert clip.confidence[0, 2, 3] == 0
    assert clip.confidence.sum() == 5 * 20 - 1


def test_joints_may_be_named_and_may_be_ones_own():
    joints = ["hips", "chest", "head", "left_hand", "right_hand"]
    positions = (CLIP.positions[:, :, :5]).tolist()
    part = numbers(positions=positions, joint_names=joints, parents=["", "hips", "chest", "chest", "chest"])
    del part["topology"]
    assert clip_of_part(part, "part", LIMITS).topology.joint_names == tuple(joints)
    names = list(CLIP.topology.joint_names)
    part = numbers(joint_names=names)
    del part["topology"]
    assert clip_of_part(part, "part", LIMITS).topology == CLIP.topology


def test_confidence_is_kept():
    confidence = np.full((5, 20), 0.5).tolist()
    assert clip_of_part(numbers(confidence=confidence), "part", LIMITS).confidence.max() == np.float32(0.5)


def test_a_file_in_base64_is_read_in_any_format(tmp_path):
    clip = performed_clips(("wave",), ("P001",))[0]
    plain_numpy.write(clip, tmp_path / "a.npz")
    part = {"file": encoded((tmp_path / "a.npz").read_bytes()), "name": "../../etc/a.npz"}
    found = clip_of_part(part, "part", LIMITS.__class__())
    np.testing.assert_allclose(found.positions, clip.positions, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": None}, "positions is null"),
        ({"positions": [[[1, 2, 3]], [[1, 2]]]}, "differ in length"),
        ({"positions": [[["1", "2", "3"]]] * 5}, "no number"),
        ({"positions": [[[True, False, True]]] * 5}, "no number"),
        ({"positions": [[[1e308 * 10, 0, 0]] * 20] * 5}, "too large"),
        ({"positions": [[[10**400, 0, 0]] * 20] * 5}, "differ in length or hold no numbers"),
        ({"positions": [[[1e30, 0, 0]] * 20] * 5}, "coordinate beyond"),
        ({"positions": [[[{}, 0, 0]] * 20] * 5}, "no number"),
        ({"positions": [[[0, 0, 0]] * 20] * 5}, "no joint of anybody"),
        ({"positions": [[[None] * 3] * 20] * 5}, "no joint of anybody"),
        ({"positions": []}, "has shape"),
        ({"positions": [[[1, 2, 3]] * 7] * 5}, "found 7 joints, expected the 20 joints"),
        ({"positions": CLIP.positions[0, :1].tolist()}, "1 frame shows no movement"),
        ({"positions": [[[0.1, 1, 0]] * 20] * 60}, "60 frames, at most 50"),
        ({"positions": [[[[0.1, 1, 0]] * 20] * 2] * 21}, "21 persons"),
        ({"fps": None}, "no fps"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": True}, "fps is True"),
        ({"fps": 10**400}, "must be frames per second"),
        ({"topology": "nobody"}, "known are"),
        ({"topology": "/etc/passwd.toml"}, "known are"),
        ({"topology": 3}, "topology is a number"),
        ({"unit": "furlong"}, "unit 'furlong' is unknown"),
        ({"up": "sideways"}, "up axis"),
        ({"confidence": [[1.0]]}, "confidence has shape"),
        ({"joint_names": ["a"]}, "1 names for 20 joints"),
        ({"joint_names": "abc"}, "must be a list"),
        ({"joint_names": ["hips"], "parents": [5]}, "key parents"),
        ({"path": "/etc/passwd"}, "unknown field 'path'"),
    ],
)
def test_wrong_numbers_are_refused_with_a_sentence(changes, said):
    with pytest.raises(Refusal) as raised:
        clip_of_part(numbers(**changes), "part", LIMITS)
    assert said in raised.value.message
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("walk.bvh", "is a text"),
        (None, "is null"),
        ({"file": "/etc/passwd"}, "not base64"),
        ({"file": 3}, "must be texts"),
        ({"file": encoded(b"hello")}, "found a file that begins with"),
        ({"file": encoded(b"hello"), "name": "a/../b.$(sh)"}, "no file's suffix"),
        ({"file": encoded(b""), "index": -1}, "index is -1"),
        ({"file": encoded(b""), "positions": []}, "unknown field 'positions'"),
        ({"file": encoded(pickle.dumps({"annotations": [], "split": {}})), "name": "a.pkl"}, "part: "),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(part, said):
    with pytest.raises(Refusal) as raised:
        clip_of_part(part, "part", LIMITS)
    assert said in raised.value.message
    assert "/tmp" not in raised.value.message


def test_a_picture_is_fitted_into_the_models_square():
    picture = picture_of_part({"url": png(), "detail": "low"}, "part", 32)
    assert picture.shape == (3, 32, 32)
    assert picture[0, 16].min() > 0.9
    assert picture[:, 0].max() == 0


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"url": "http://169.254.169.254/latest"}, "fetches nothing"),
        ({"url": "https://example.com/a.png"}, "fetches nothing"),
        ({"url": "file:///etc/passwd"}, "fetches nothing"),
        ({"url": "data:text/html;base64,aaaa"}, "fetches nothing"),
        ({"url": "data:image/png;base64,!!!"}, "not base64"),
        ({"url": "data:image/png;base64,aGVsbG8="}, "no picture"),
        ({"url": png()[:90]}, "no"),
        ({"url": png(), "path": "x"}, "is no image_url"),
        ({"url": 3}, "is no image_url"),
        (None, "is no image_url"),
        ({"url": png(4100, 4100)}, "4100 x 4100 pixels"),
        ({"url": f"data:image/gif;base64,{encoded(HUGE_GIF)}"}, "part"),
    ],
)
def test_what_is_no_picture_is_refused(part, said):
    with pytest.raises(Refusal) as raised:
        picture_of_part(part, "part", 32)
    assert said in raised.value.message
