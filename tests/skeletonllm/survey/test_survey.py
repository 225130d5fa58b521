import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from skeletonllm.errors import ConfigError, DataError, ShardError
from skeletonllm.skeleton.simulate import write_sample_data
from skeletonllm.survey.collect import collect, motion_by_part
from skeletonllm.survey.draw import STROKES, cells_of, svg_of
from skeletonllm.survey.page import render_page, write_page
from skeletonllm.survey.sheet import pick, write_sheet
from skeletonllm.survey.sources import find
from tests.makers import make_clip, performed_clips, write_clips, write_dataset


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, num_performers=1)
    return folder


@pytest.fixture(scope="module")
def survey(sample):
    return collect(find(sample))


def test_a_folder_is_counted_by_format_class_subject_and_rate(survey):
    assert survey.kind == "folder"
    assert {group.format for group in survey.groups.values()} == {"ntu", "nwucla", "pyskl", "humanml3d", "bvh"}
    assert survey.clips == sum(group.clips for group in survey.groups.values()) == sum(survey.actions.values())
    assert "kick" in survey.actions
    assert all(said in ("file", "format") for group in survey.groups.values() for _, said in group.rates)
    assert not survey.rejected
    assert survey.level("error") == 0


def test_a_clip_id_is_unique_below_the_folder_and_labels_are_applied(sample):
    (recording, *_) = find(sample).recordings(1)
    assert recording.clips[0].clip_id.startswith(str(recording.file.rpartition("/")[0]))
    assert recording.clips[0].source.file == recording.file


def test_one_file_gets_the_labels_beside_it(tmp_path, sample):
    file = next((sample / "nwucla").rglob("*.json"))
    (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "labels.csv").write_text(f"clip_id,action\n{file.stem},juggle\n")
    found = collect(find(tmp_path / file.name))
    assert (found.kind, dict(found.actions)) == ("file", {"juggle": 1})


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path, sample):
    good = next((sample / "bvh").rglob("*.bvh"))
    (tmp_path / "good.bvh").write_bytes(good.read_bytes())
    (tmp_path / "cut.bvh").write_bytes(good.read_bytes()[:900])
    found = collect(find(tmp_path))
    assert found.clips == 1
    assert [one.file for one in found.rejected] == ["cut.bvh"]
    assert found.counts["error", "unreadable"] == 1
    assert str(tmp_path) not in found.rejected[0].reason


def test_a_data_set_of_shards_is_read_and_a_changed_byte_is_found(tmp_path):
    ref = write_clips(tmp_path, performed_clips())
    clean = collect(find(tmp_path / "clips" / ref.fingerprint[:12]))
    assert (clean.kind, clean.clips) == ("data set", 4)
    shard = next((tmp_path / "clips" / ref.fingerprint[:12]).glob("*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = collect(find(shard.parent))
    assert damaged.counts["error", "damaged"] == 1
    assert "sha256" in damaged.rejected[0].reason


def test_a_data_set_of_something_else_is_refused(tmp_path):
    import pyarrow as pa

    ref = write_dataset(tmp_path, "pairs", pa.table({"action": ["wave"]}))
    with pytest.raises(ShardError, match="a data set of pairs, expected clips"):
        find(tmp_path / "pairs" / ref.fingerprint[:12])


def test_a_folder_without_recordings_is_told(tmp_path):
    with pytest.raises(DataError, match="no recording in a known format below it"):
        find(tmp_path)


def test_the_movement_of_a_part_is_that_of_its_joints():
    clip = make_clip(num_frames=41, fps=20.0)
    still = np.repeat(clip.positions[:, :1], 41, axis=1)
    joint = clip.topology.find("hand", "left")
    still[0, :, joint, 0] += np.linspace(0, 4, 41)  # 2 m/s
    motion = motion_by_part(replace(clip, positions=still))
    arm = [j for j, part in enumerate(clip.topology.parts) if part in ("shoulder", "elbow", "wrist", "hand")]
    arm = [j for j in arm if clip.topology.sides[j] == "left"]
    assert motion["left arm"] == pytest.approx(2 / len(arm), rel=1e-3)
    assert not motion["right arm"].any()
    assert motion_by_part(make_clip(num_frames=1)) == {}


def test_people_face_the_viewer_so_that_their_left_is_on_the_right():
    for clip in performed_clips(subjects=("P001",)):
        front = cells_of(clip, 6, 2)[0]
        assert front.view == "front"
        assert front.bones["left"][..., 0].mean() > front.bones["right"][..., 0].mean()
        head, feet = front.bones["center"][..., 1].min(), front.bones["left"][..., 1].max()
        assert 0 <= head < feet <= 1


def test_a_figure_has_no_bone_of_a_joint_that_was_not_seen_and_2d_has_no_side_view():
    clip = make_clip(topology="coco_17", num_frames=20, num_persons=2)
    confidence = clip.confidence.copy()
    confidence[0, :, clip.topology.joint_names.index("left_wrist")] = 0
    cells = cells_of(replace(clip, confidence=confidence), 3, 2)
    assert [cell.view for cell in cells] == ["front"] * 5
    assert set(cells[0].bones) == set(STROKES)
    assert len(cells[0].bones["left"]) == len(cells[0].bones["left other"]) - 1


def test_a_sheet_has_one_row_per_clip_and_people_are_on_it(tmp_path):
    clips = performed_clips(subjects=("P001",))
    write_sheet(clips, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    rows = np.array_split(pixels[:, 430:], len(clips))
    assert all((row.min(-1) < 100).sum() > 200 for row in rows)
    with pytest.raises(ConfigError, match=r"use \.png"):
        write_sheet(clips, tmp_path / "sheet.bmp")


def test_a_sheet_picks_differing_clips_of_each_folder(sample):
    clips, errors = pick(sample, 2)
    assert errors == []
    folders = [clip.source.dataset for clip in clips]
    assert set(folders) == {"ntu", "nwucla", "pyskl", "humanml3d", "bvh"}
    assert max(folders.count(name) for name in folders) == 2
    labelled = [clip.action for clip in clips if clip.source.dataset == "ntu"]
    assert len(set(labelled)) == 2


def test_the_page_is_one_file_that_fetches_nothing_and_is_well_formed(survey, tmp_path):
    write_page(survey, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!#)|url\(|@import|https?://""", page)
    assert page.count('<svg class="people"') >= 10
    assert "prefers-color-scheme: dark" in page
    for heading in ("Formats", "Findings", "People", "Statistics"):
        assert heading in page

    class Balance(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "path", "br", "link"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            if tag != "path":
                assert self.open.pop() == tag

    balance = Balance()
    balance.feed(page)
    assert balance.open == []


def test_labels_and_file_names_are_data_on_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    clips = [replace(clip, action=evil, clip_id=f"{evil}{n}") for n, clip in enumerate(performed_clips())]
    ref = write_clips(tmp_path, [*clips, replace(clips[0], clip_id="copy")])
    page = render_page(collect(find(tmp_path / "clips" / ref.fingerprint[:12])))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_figure_of_absurd_numbers_is_drawn_without_a_warning():
    clip = make_clip(num_frames=5)
    far = clip.positions.copy()
    far[0, 2, 3] = 9e4
    assert svg_of(replace(clip, positions=far)).startswith("<svg")
    point = replace(clip, positions=np.full_like(clip.positions, 0.5))
    assert "nan" not in svg_of(point)
