import json
from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.cli import main
from skeletonllm.skeleton.simulate import write_sample_data
from tests.makers import performed_clips, write_clips


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, num_performers=1)
    return folder


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def data_set(tmp_path, *clips):
    ref = write_clips(tmp_path, [*performed_clips(), *clips])
    return str(tmp_path / "clips" / ref.fingerprint[:12])


def mirrored():
    clip = performed_clips()[0]
    return replace(clip, clip_id="mirrored", positions=clip.positions * np.float32([-1, 1, 1]), rotations=None)


def test_a_file_is_told_on_one_screen(sample, capsys):
    file = next((sample / "bvh").rglob("*.bvh"))
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    for word in ("known by its content", "the file says so", "by the body's size", "every joint", "left arm", "m/s"):
        assert word in shown
    assert len(shown.splitlines()) < 40


def test_a_folder_is_told_as_a_table_with_classes_and_findings(sample, capsys):
    assert main(["inspect", str(sample)]) == 0
    shown = capsys.readouterr().out
    for word in ("kinect_v2_25", "coco_17", "smpl_22", "(format)", "classes", "subjects", "durations"):
        assert word in shown


def test_inspect_writes_a_page_and_a_sheet(sample, tmp_path, capsys):
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert main(["inspect", str(sample / "nwucla"), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert main(["inspect", str(sample), "--sheet", str(sheet), "--per-folder", "1"]) == 0
    assert "5 recordings" in capsys.readouterr().out
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_validate_gives_0_where_all_is_well(sample, capsys):
    assert main(["validate", str(sample)]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_validate_gives_1_for_an_error_and_says_what_to_do(tmp_path, capsys):
    listed = tmp_path / "findings.json"
    assert main(["validate", data_set(tmp_path, mirrored()), "--json", str(listed)]) == 1
    shown = capsys.readouterr().out
    assert "mirrored" in shown
    assert "→ negate x" in shown
    assert "1 errors" in shown
    found = json.loads(listed.read_text())
    assert found["counts"]["error"] == {"mirrored": 1}
    (one,) = [row for row in found["findings"] if row["level"] == "error"]
    assert one["clip_id"] == "mirrored"
    assert set(one) == {"level", "file", "clip_id", "kind", "text", "remedy"}


def test_validate_is_strict_about_warnings_only_where_it_is_asked_to_be(tmp_path, capsys):
    copy = replace(performed_clips()[0], clip_id="copy")
    folder = data_set(tmp_path, copy)
    assert main(["validate", folder]) == 0
    assert main(["validate", folder, "--strict"]) == 1
    assert "the same positions as clip P001-kick" in capsys.readouterr().out


def test_validate_shows_so_many_of_a_kind_and_counts_the_rest(tmp_path, capsys):
    copies = [replace(performed_clips()[0], clip_id=f"copy{n}") for n in range(5)]
    assert main(["validate", data_set(tmp_path, *copies), "--max-per-kind", "2"]) == 0
    shown = capsys.readouterr().out
    assert "copy1" in shown
    assert "copy2" not in shown
    assert "and 3 more of this kind" in shown


def test_validate_finds_a_damaged_file_and_a_damaged_shard(tmp_path, sample, capsys):
    file = tmp_path / "cut.bvh"
    file.write_bytes(next((sample / "bvh").rglob("*.bvh")).read_bytes()[:700])
    assert main(["validate", str(file)]) == 1
    folder = data_set(tmp_path)
    for shard in (tmp_path / "clips").rglob("*.arrow"):
        shard.write_bytes(shard.read_bytes()[:-100])
    assert main(["validate", folder]) == 1
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect"], "no path"),
        (["inspect", "none.bvh"], "none.bvh"),
        (["validate", "none"], "none"),
        (["validate", "CLIP", "--format", "bhv"], "did you mean 'bvh'?"),
        (["inspect", "CLIP", "--topology", "coco17"], "did you mean 'coco_17'?"),
        (["inspect", "CLIP", "CLIP", "--html", "x.html"], "one report is about one"),
        (["inspect", "CLIP", "--sheet", "x.bmp"], "use .png"),
        (["inspect", "CLIP", "--topology", "coco_17"], "leave --topology out"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(sample, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    clip = str(next((sample / "bvh").rglob("*.bvh")))
    assert main([clip if word == "CLIP" else word for word in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_declared_rate_is_used_and_told(sample, capsys):
    file = next((sample / "bvh").rglob("*.bvh"))
    assert main(["inspect", str(file), "--fps", "50"]) == 0
    assert "50 fps (as declared)" in capsys.readouterr().out
