"""HumanML3D files: round trip, captions, headers that lie."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, humanml3d, read
from tests.makers import make_clip


@settings(max_examples=15)
@given(frames=st.integers(1, 20), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back_on_the_floor_and_at_the_origin(tmp_path_factory, frames, seed):
    clip = make_clip("a", "smpl_22", num_frames=frames, seed=seed)
    path = tmp_path_factory.mktemp("h") / "000001.npy"
    humanml3d.write(clip, path)
    (back,) = read(path)
    shift = back.positions[0, 0, 0] - clip.positions[0, 0, 0]
    # A coordinate that is exactly zero in all three places would count as unseen; the pelvis keeps its height.
    np.testing.assert_allclose(back.positions - shift, clip.positions, atol=1e-5)
    assert back.positions[..., 1].min() == pytest.approx(0, abs=1e-6)
    assert back.positions[0, 0, 0, (0, 2)] == pytest.approx([0, 0], abs=1e-6)
    assert back.fps == 20


def saved(tmp_path, lines: str):
    folder = tmp_path / "new_joints"
    folder.mkdir()
    (tmp_path / "texts").mkdir()
    humanml3d.write(make_clip("a", "smpl_22"), folder / "000001.npy")
    (tmp_path / "texts" / "000001.txt").write_text(lines)
    return folder / "000001.npy"


def test_captions_of_the_whole_clip_come_from_the_folder_beside(tmp_path):
    lines = "a man waves.#a/DET man/NOUN#0.0#0.0\nthen he sits.#then/ADV#1.0#2.5\nhe waves#he/PRON#nan#nan\n\n"
    (clip,) = read(saved(tmp_path, lines))
    assert clip.captions == ("a man waves.", "he waves")


def test_a_damaged_caption_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match=r"000001\.txt, line 2"):
        read(saved(tmp_path, "a#a/DET#0.0#0.0\nno fields\n"))


def test_caption_lines_are_read_as_captions(tmp_path):
    text = humanml3d.caption_lines(("a person bows", "someone bends, slowly"), {"bows": "VERB"})
    assert "bows/VERB#0.0#0.0" in text
    (clip,) = read(saved(tmp_path, text))
    assert clip.captions == ("a person bows", "someone bends, slowly")


def numpy_bytes(shape: tuple[int, ...], kind: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (numpy_bytes((10**12, 22, 3), "<f4", b"1234"), "found 4 bytes of data"),
        (numpy_bytes((2, 22, 3), "<f4", b"\0" * 100), "expected 528"),
        (numpy_bytes((2, 22, 3), "<i4", b"\0" * 528), "found type int32, expected floats"),
        (numpy_bytes((2, 22, 3), "<f4", b"\0" * 528), "zeros only"),
        (numpy_bytes((2, 263), "<f4", b""), "found shape (2, 263), expected (frames, 22, 3)"),
        (numpy_bytes((-1, 22, 3), "<f4", b""), "found shape (-1, 22, 3)"),
        (b"\x93NUMPY\x01", "the header of a numpy file"),
        (b"", "the header of a numpy file"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path, content, says):
    path = tmp_path / "000001.npy"
    path.write_bytes(content)
    with pytest.raises(FormatError) as error:
        humanml3d.read(path, Declared())
    assert says in str(error.value)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "000001.npy"
    np.save(path, np.empty((1, 22, 3), object), allow_pickle=True)
    with pytest.raises(FormatError, match="expected floats"):
        humanml3d.read(path, Declared())
