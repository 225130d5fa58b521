"""Finding the format of a file, and the files of a folder."""

from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import (
    amass,
    detect,
    find_recordings,
    formats,
    humanml3d,
    ntu,
    nwucla,
    plain_csv,
    plain_numpy,
    plain_parquet,
    pyskl,
    read,
)
from tests.makers import make_clip
from tests.skeletonllm.skeleton.formats.test_bvh import SMALL


@pytest.fixture
def one_of_each(tmp_path):
    ntu.write(make_clip("a", "kinect_v2_25"), tmp_path / "ntu.skeleton")
    nwucla.write(make_clip("a"), tmp_path / "nwucla.json")
    pyskl.write([make_clip("a", "coco_17")], tmp_path / "pyskl.pkl", [0], px_per_m=100.0)
    humanml3d.write(make_clip("a", "smpl_22"), tmp_path / "humanml3d.npy")
    (tmp_path / "bvh.bvh").write_text(SMALL)
    plain_csv.write(make_clip("a"), tmp_path / "csv.csv")
    plain_numpy.write(make_clip("a"), tmp_path / "numpy.npz")
    plain_parquet.write(make_clip("a"), tmp_path / "parquet.parquet")
    upright = np.zeros((1, 12, 22, 4), np.float32)
    upright[..., 0] = 1
    amass.write(replace(make_clip("a", "smpl_22"), rotations=upright), tmp_path / "amass.npz")
    return tmp_path


def test_a_file_is_known_by_its_content_not_by_its_suffix(one_of_each):
    for path in sorted(one_of_each.iterdir()):
        renamed = path.with_suffix(".dat")
        path.rename(renamed)
        assert detect(renamed).name == path.stem
        assert len(read(renamed)) == 1


def test_a_wrong_suffix_does_not_mislead(one_of_each):
    (one_of_each / "bvh.bvh").rename(one_of_each / "bvh.skeleton")
    assert detect(one_of_each / "bvh.skeleton").name == "bvh"


def test_an_unknown_file_is_refused_with_the_list_of_formats(tmp_path):
    (tmp_path / "a.skeleton").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    with pytest.raises(FormatError) as error:
        read(tmp_path / "a.skeleton")
    assert all(name in str(error.value) for name in formats())
    (tmp_path / "empty.bvh").touch()
    with pytest.raises(FormatError, match="an empty file"):
        read(tmp_path / "empty.bvh")
    with pytest.raises(FormatError, match="format 'mp4' is unknown"):
        read(tmp_path / "a.skeleton", "mp4")


@pytest.mark.parametrize("name", formats())
def test_a_file_of_another_format_is_one_format_error(one_of_each, name):
    for path in sorted(one_of_each.iterdir()):
        if path.stem != name:
            with pytest.raises(FormatError):
                read(path, name)


def test_side_files_are_no_recordings(one_of_each):
    recordings = find_recordings(one_of_each)
    assert recordings == sorted(one_of_each.iterdir())
    (one_of_each / "labels.csv").write_text("clip_id\n")
    (one_of_each / "texts").mkdir()
    (one_of_each / "texts" / "000001.txt").write_text("a#a#0.0#0.0\n")
    (one_of_each / "settings.json").write_text('{"seed": 0}')
    (one_of_each / ".hidden").mkdir()
    (one_of_each / ".hidden" / "a.bvh").write_text(SMALL)
    np.save(one_of_each / "Mean.npy", np.zeros(263, np.float32))
    assert find_recordings(one_of_each) == recordings


def test_a_damaged_recording_is_found_so_that_it_can_be_reported(tmp_path):
    (tmp_path / "broken.skeleton").write_text("not a recording")
    assert [path.name for path in find_recordings(tmp_path)] == ["broken.skeleton"]
