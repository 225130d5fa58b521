"""AMASS and other SMPL poses: round trip, the template and the user's own body, frame rates, axes, damage."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError, DataError, FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, amass, detect, find_recordings, read
from skeletonllm.skeleton.formats.smpl_body import pose, template_joints
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point
from skeletonllm.skeleton.rotations import from_axis_angle, quaternions
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip

DATA = Path(__file__).parents[5] / "shared" / "data"
SMPL = TOPOLOGIES["smpl_22"]
JOINT = {name: number for number, name in enumerate(SMPL.joint_names)}
# From the T-pose along +y to a world where +z is up.
STANDING = (np.pi / 2, 0.0, 0.0)


def posed_clip(frames: int = 5, seed: int = 0, fps: float = 30.0) -> Clip:
    """The template body in random poses, somewhere."""
    rng = np.random.default_rng(seed)
    turns = from_axis_angle(rng.normal(scale=0.5, size=(frames, 22, 3)))
    places = np.cumsum(rng.normal(scale=0.1, size=(frames, 3)), axis=0) + np.array((0, 1, 0))
    positions, world = pose(template_joints(), places, turns)
    clip = make_clip("a", "smpl_22", num_frames=frames, fps=fps)
    return replace(clip, positions=positions[None].astype(np.float32), rotations=quaternions(world)[None])


def standing(frames: int = 4, joints: int = 52, **poses: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """The arrays of a file of somebody who stands; joints by name turn by an axis angle."""
    angles = np.zeros((frames, joints, 3))
    angles[:, 0] = STANDING
    for name, angle in poses.items():
        angles[:, JOINT[name]] = angle
    return {
        "poses": angles.reshape(frames, -1),
        "trans": np.tile((0.3, 0.2, 1.0), (frames, 1)),
        "betas": np.zeros(16),
        "gender": np.array("male"),
        "mocap_framerate": np.array(120.0),
    }


def saved(folder: Path, arrays: dict[str, np.ndarray], name: str = "walk_poses") -> Path:
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


@settings(max_examples=20)
@given(frames=st.integers(1, 20), seed=st.integers(0, 1000), fps=st.sampled_from([12.5, 60.0, 120.0, 250.0]))
def test_what_is_written_is_read_back_with_its_rotations(tmp_path_factory, frames, seed, fps):
    clip = posed_clip(frames, seed, fps)
    path = tmp_path_factory.mktemp("amass") / "a.npz"
    amass.write(clip, path)
    (back,) = read(path)
    np.testing.assert_allclose(back.positions, clip.positions, atol=1e-5)
    assert back.rotations is not None
    assert clip.rotations is not None
    np.testing.assert_allclose(np.abs((back.rotations * clip.rotations).sum(-1)), 1, atol=1e-5)
    assert (back.fps, back.source.fps_from, back.topology) == (fps, "file", SMPL)
    assert (back.confidence == 1).all()


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    for name in "ab":
        amass.write(posed_clip(), tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_frame_in_which_the_pelvis_is_not_seen_comes_back_unseen(tmp_path):
    clip = posed_clip()
    clip.confidence[0, 2] = 0
    amass.write(clip, tmp_path / "a.npz")
    (back,) = read(tmp_path / "a.npz")
    assert back.confidence[0, :, 5].tolist() == [1, 1, 0, 1, 1]
    assert not back.positions[0, 2].any()


def test_only_smpl_clips_with_rotations_are_written(tmp_path):
    with pytest.raises(FormatError, match="topology kinect_v1_20, expected smpl_22"):
        amass.write(make_clip("a"), tmp_path / "a.npz")
    with pytest.raises(FormatError, match="without rotations"):
        amass.write(make_clip("a", "smpl_22"), tmp_path / "a.npz")


def test_a_standing_person_is_upright_faces_ahead_and_has_the_left_at_plus_x(tmp_path):
    (clip,) = read(saved(tmp_path, standing()))
    places = clip.positions[0, 0]
    assert places[JOINT["head"], 1] > places[JOINT["pelvis"], 1] + 0.5 > places[JOINT["left_ankle"], 1] + 1.2
    assert places[JOINT["left_wrist"], 0] > places[JOINT["right_wrist"], 0] + 1.2
    assert places[JOINT["left_foot"], 2] > places[JOINT["left_ankle"], 2] + 0.1
    assert 1.25 < body_size_m(clip) < 1.45
    np.testing.assert_allclose(clip.rotations[0, 0, 0], (1, 0, 0, 0), atol=1e-6)
    assert clip.source.space == "m, +z up (template body)"


def test_the_template_is_the_same_on_both_sides():
    rest = template_joints()
    for left, right in SMPL.mirror:
        np.testing.assert_allclose(rest[left], rest[right] * (-1, 1, 1))


def test_a_joint_turns_what_hangs_on_it(tmp_path):
    (clip,) = read(saved(tmp_path, standing(left_shoulder=(0.0, 0.0, np.pi / 2), right_hip=(-np.pi / 2, 0.0, 0.0))))
    places = clip.positions[0, 0]
    assert places[JOINT["left_wrist"], 1] > places[JOINT["head"], 1]  # raised from the side
    assert places[JOINT["right_knee"], 2] > places[JOINT["right_hip"], 2] + 0.35  # lifted to the front
    assert places[JOINT["right_wrist"], 1] == pytest.approx(places[JOINT["right_shoulder"], 1], abs=0.02)


@pytest.mark.parametrize("joints", [24, 52, 55])
def test_every_member_of_the_family_has_the_same_body(tmp_path, joints):
    (clip,) = read(saved(tmp_path, standing(joints=joints), f"with_{joints}"))
    (other,) = read(saved(tmp_path, standing()))
    np.testing.assert_array_equal(clip.positions, other.positions)


def test_root_and_body_apart_are_the_same_poses(tmp_path):
    arrays = standing(left_knee=(0.5, 0.1, 0.0))
    apart = {name: array for name, array in arrays.items() if name not in ("poses", "mocap_framerate")}
    apart |= {"root_orient": arrays["poses"][:, :3], "pose_body": arrays["poses"][:, 3:66]}
    apart |= {"mocap_frame_rate": np.array(100), "surface_model_type": np.array("smplx")}
    (one,), (other,) = read(saved(tmp_path, arrays, "one")), read(saved(tmp_path, apart, "other"))
    np.testing.assert_array_equal(one.positions, other.positions)
    assert (one.fps, other.fps) == (120, 100)


def test_aist_files_are_scaled_have_y_up_and_60_fps(tmp_path):
    angles = np.zeros((3, 24, 3))
    arrays = {"smpl_poses": angles, "smpl_trans": np.full((3, 3), 180.0), "smpl_scaling": np.array([90.0])}
    (clip,) = read(saved(tmp_path, arrays))
    np.testing.assert_allclose(clip.positions[0, 0], template_joints() + 2, atol=1e-6)
    assert (clip.fps, clip.source.fps_from) == (60, "format")
    assert clip.source.space == "m, +y up (template body)"


def test_objects_beside_the_poses_are_not_opened(tmp_path):
    arrays = {**standing(), "labels": np.array([{"a": 1}], object)}
    assert len(read(saved(tmp_path, arrays))) == 1


def test_the_frame_rate_is_asked_for_where_the_file_has_none(tmp_path):
    arrays = standing()
    del arrays["mocap_framerate"]
    path = saved(tmp_path, arrays)
    with pytest.raises(
        FormatError, match="no frame rate, expected mocap_framerate or mocap_frame_rate; say it with --fps"
    ):
        read(path)
    (clip,) = read(path, declared=Declared(fps=50.0))
    assert (clip.fps, clip.source.fps_from) == (50, "declared")
    path = saved(tmp_path, {**arrays, "mocap_framerate": np.array(np.nan)})
    with pytest.raises(FormatError, match="array mocap_framerate: found"):
        read(path)
    assert read(path, declared=Declared(fps=50.0))[0].fps == 50


def test_a_declared_up_axis_wins(tmp_path):
    arrays = standing()
    arrays["poses"][:, :3] = 0
    (clip,) = read(saved(tmp_path, arrays), declared=Declared(up="+y"))
    assert clip.positions[0, 0, JOINT["head"], 1] > clip.positions[0, 0, 0, 1] + 0.5
    with pytest.raises(ConfigError, match="up axis"):
        read(saved(tmp_path, arrays), declared=Declared(up="up"))
    with pytest.raises(ConfigError, match="--unit"):
        read(saved(tmp_path, arrays), declared=Declared(unit="cm"))


def test_shapes_are_no_recordings_and_tell_who_moves(tmp_path):
    folder = tmp_path / "CMU" / "07"
    folder.mkdir(parents=True)
    path = saved(folder, standing())
    saved(folder, {"betas": np.zeros(16), "gender": np.array("male")}, "shape")
    assert find_recordings(tmp_path) == [path]
    assert detect(path).name == "amass"
    assert read(path)[0].source.subject == "07"
    assert read(saved(tmp_path, standing()))[0].source.subject == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trans": np.zeros((4, 2))}, r"array trans: found shape \(4, 2\), expected \(frames, 3\)"),
        ({"trans": np.zeros((0, 3)), "poses": np.zeros((0, 156))}, r"found shape \(0, 3\)"),
        ({"trans": np.zeros((5, 3))}, r"array poses: found shape \(4, 156\), expected \(5, angles\), as trans"),
        ({"poses": np.zeros((4, 63))}, "63 angles in a frame, expected three for each of 22 joints"),
        ({"poses": np.zeros((4, 157))}, "157 angles"),
        ({"poses": np.array(1.0)}, r"found shape \(\)"),
        ({"poses": np.full((4, 156), 1e6)}, r"1e\+06 radians"),
        ({"poses": np.full((4, 156), np.nan)}, "no joint of anybody"),
        ({"poses": np.full((4, 156), "a")}, "array 'poses'"),
        ({"trans": np.full((4, 3), 1e300)}, r"1e\+300 away"),
        ({"trans": np.full((4, 3), 1e7)}, "from the origin"),
        ({"mocap_framerate": np.array((1.0, 2.0))}, "array mocap_framerate"),
        ({"mocap_framerate": np.array(-1.0)}, "array mocap_framerate"),
        ({"poses": np.array([{}], object)}, "Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path, change, says):
    with pytest.raises(FormatError, match=says):
        read(saved(tmp_path, {**standing(), **change}))


def test_other_files_of_arrays_are_not_taken_for_poses(tmp_path):
    with pytest.raises(FormatError, match="expected one of the known formats"):
        read(saved(tmp_path, {"positions": np.zeros((4, 22, 3))}))
    with pytest.raises(FormatError, match="expected poses and trans"):
        read(saved(tmp_path, {"positions": np.zeros((4, 22, 3))}), format="amass")


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", ["poses", "trans"])
def test_a_signalling_nan_is_a_frame_that_is_not_seen(tmp_path, name, kind):
    arrays = standing()
    arrays[name] = arrays[name].astype(kind)
    arrays[name].view("u4" if kind == "f4" else "u8")[1, 0] = 0x7F800001 if kind == "f4" else 0x7FF0000000000001
    (clip,) = read(saved(tmp_path, arrays))
    assert clip.confidence[0, :, 0].tolist() == [1, 0, 1, 1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_a_clip_or_one_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("amass")
    amass.write(posed_clip(frames=2), folder / "a.npz")
    content = bytearray((folder / "a.npz").read_bytes())
    match data.draw(st.sampled_from(["flip", "cut", "repeat", "swap"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 8))):
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "repeat":
            at = data.draw(st.integers(0, len(content) - 1))
            content[at:at] = content[at : at + 200]
        case "swap":
            at = data.draw(st.integers(0, len(content) - 400))
            content[at : at + 400] = content[at + 200 : at + 400] + content[at : at + 200]
    path = folder / "b.npz"
    path.write_bytes(content)
    try:
        clips = read(path, format="amass")
    except DataError:
        return
    assert all(isinstance(clip, Clip) for clip in clips)


def model(folder: Path, joints: int = 52, **changes: np.ndarray) -> Path:
    """A body model whose vertices are its joints: the template, a tenth larger per coefficient 0."""
    vertices = np.zeros((joints, 3))
    vertices[:22] = template_joints() + np.array((0, 1, 0))
    shapes = np.zeros((joints, 3, 10))
    shapes[:22, :, 0] = vertices[:22] * 0.1
    path = folder / f"model_{joints}.npz"
    arrays = {"J_regressor": np.eye(joints), "v_template": vertices, "shapedirs": shapes, "f": np.zeros((2, 3), int)}
    np.savez(path, **{**arrays, **changes}, extra=np.array([{}], object))
    return path


def test_with_a_body_model_people_get_the_shape_that_the_file_says(tmp_path):
    arrays = standing()
    (template,) = read(saved(tmp_path, arrays))
    own = Declared(body_model=model(tmp_path))
    (mean,) = read(saved(tmp_path, arrays), declared=own)
    # The pelvis rests 1 m higher in this model: that is a metre along the file's own y, which is our -z.
    np.testing.assert_allclose(mean.positions, template.positions - np.float32((0, 0, 1)), atol=1e-6)
    assert mean.source.space == "m, +z up (body model model_52.npz)"
    arrays["betas"] = np.array((2.0, *np.zeros(15)))
    (tall,) = read(saved(tmp_path, arrays), declared=own)
    assert body_size_m(tall) == pytest.approx(1.2 * body_size_m(template), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"J_regressor": np.eye(20)}, r"J_regressor \(20, 20\)"),
        ({"J_regressor": np.full((52, 52), np.nan)}, "not finite"),
        ({"v_template": np.zeros((51, 3))}, r"v_template \(51, 3\)"),
        ({"shapedirs": np.zeros((52, 3))}, r"shapedirs \(52, 3\)"),
        ({"shapedirs": np.array([{}], object)}, "Python objects"),
    ],
)
def test_a_body_model_that_is_none_is_told(tmp_path, change, says):
    path = saved(tmp_path, standing())
    with pytest.raises(FormatError, match=says):
        read(path, declared=Declared(body_model=model(tmp_path, **change)))


def test_a_pickled_missing_or_foreign_body_model_is_told(tmp_path):
    path = saved(tmp_path, standing())
    with pytest.raises(FormatError, match="found a pickle, expected a body model"):
        read(path, declared=Declared(body_model=tmp_path / "SMPL_NEUTRAL.pkl"))
    with pytest.raises(FormatError, match="no such file"):
        read(path, declared=Declared(body_model=tmp_path / "model.npz"))
    with pytest.raises(FormatError, match="found no J_regressor, shapedirs, v_template"):
        read(path, declared=Declared(body_model=path))
    with pytest.raises(FormatError, match="found 55 joints, expected 52, as the recording"):
        read(path, declared=Declared(body_model=model(tmp_path, 55)))
    bad = saved(tmp_path, {**standing(), "betas": np.full(16, np.nan)}, "bad")
    with pytest.raises(FormatError, match="betas of a recording"):
        read(bad, declared=Declared(body_model=model(tmp_path)))


def test_a_body_model_is_refused_where_files_have_positions(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 22, 3)))
    with pytest.raises(ConfigError, match="need no body"):
        read(tmp_path / "a.npy", declared=Declared(body_model=tmp_path / "model.npz"))


def test_the_body_of_a_real_recording_is_where_its_markers_are():
    path = DATA / "amass" / "amass_sample.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    (clip,) = read(path)
    entry = next(e for e in json.loads((DATA / "MANIFEST.json").read_text()) if e["file"] == "amass/amass_sample.npz")
    assert (clip.num_frames, clip.fps) == (entry["n_frames"], entry["fps"])
    with np.load(path) as file:
        labels = [label.decode() for label in file["marker_labels"]]
        markers = file["marker_data"][..., (0, 2, 1)] * (1, 1, -1)
    errors = []
    for side in ("left", "right"):
        for part, pair in (("knee", ("KNE", "KNI")), ("elbow", ("ELB", "IEL")), ("wrist", ("OWR", "IWR"))):
            middle = np.mean([markers[:, labels.index(side[0].upper() + label)] for label in pair], axis=0)
            joint = clip.positions[0, :, JOINT[f"{side}_{part}"]]
            errors.append(np.nanmean(np.linalg.norm(middle - joint, axis=-1)))
    assert np.mean(errors) < 0.05
    assert np.max(errors) < 0.07
    clip = canonicalise(clip)
    head, pelvis, ankle = point(clip, "head"), point(clip, "pelvis"), point(clip, "ankle", "left")
    assert (head[0, :, 1] > pelvis[0, :, 1] + 0.4).all()
    assert (pelvis[0, :, 1] > ankle[0, :, 1] + 0.4).all()
