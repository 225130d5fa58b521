"""Florence 3D files: one clip or the whole set in one file."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, florence3d, read
from tests.skeletonllm.skeleton.formats.texts import edited, standing, write_rows


def whole_set(folder: Path, ids: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (2, 1, 9), (3, 10, 5))) -> Path:
    places = 1000 * standing("florence_15").reshape(3, -1)
    rows = [np.r_[video, row] for video in ids for row in places]
    return write_rows(folder / "Florence_dataset_WorldCoordinates.txt", np.array(rows))


def per_clip(folder: Path) -> Path:
    return write_rows(folder / "a03_s10_id201.txt", 1000 * standing("florence_15").reshape(-1, 3), end=" ")


def test_a_file_of_one_clip(tmp_path):
    path = per_clip(tmp_path)
    assert detect(path).name == "florence3d"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], standing("florence_15"), atol=1e-5)
    assert (clip.clip_id, clip.action, clip.fps) == ("a03_s10_id201", "answer phone", 30)
    assert (clip.source.subject, clip.source.repetition) == ("S10", "201")


def test_a_file_of_many_clips_gives_each_the_name_of_its_own_file(tmp_path):
    path = whole_set(tmp_path)
    assert detect(path).name == "florence3d"
    clips = read(path)
    assert [clip.clip_id for clip in clips] == ["a01_s1_id1", "a09_s1_id2", "a05_s10_id3"]
    assert [clip.action for clip in clips] == ["wave", "bow", "tight lace"]
    assert [clip.source.subject for clip in clips] == ["S1", "S1", "S10"]
    for clip in clips:
        np.testing.assert_allclose(clip.positions[0], standing("florence_15"), atol=1e-5)


def test_an_unknown_category_has_no_name(tmp_path):
    (clip,) = read(whole_set(tmp_path, ids=((1, 1, 10),)))
    assert clip.action is None


def test_a_video_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"row 7: found video 1 again"):
        read(whole_set(tmp_path, ids=((1, 1, 1), (2, 1, 2), (1, 1, 1))))


@pytest.mark.parametrize("word", ["0", "1.5", "nan", "inf", "-1", "1e300"])
def test_an_id_that_is_none_is_named_by_its_row(tmp_path, word):
    path = whole_set(tmp_path)
    line = path.read_text().split("\n")[3]
    with pytest.raises(FormatError, match=r"row 4: found ids .*expected video, actor and category"):
        read(edited(path, 4, f"{word} {line.split(' ', 1)[1]}"))


def test_a_short_row_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match="line 2: found 3 values, expected 48 numbers"):
        read(edited(whole_set(tmp_path), 2, "1 1 1"))
    with pytest.raises(FormatError, match="found 44 rows, expected a multiple of 15"):
        read(edited(per_clip(tmp_path), 45, ""))


def test_other_numbers_are_not_of_this_format(tmp_path):
    head = per_clip(tmp_path).read_bytes()
    assert not florence3d.sniff(Path("a03_s10_e01_realworld.txt"), head)
    assert not florence3d.sniff(Path("x.txt"), b" ".join([b"0.5"] * 48) + b"\n")
