"""Labels: which of several sources wins, and what is reported."""

from dataclasses import replace
from pathlib import Path

import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.actions import NTU_60, NTU_120, NW_UCLA
from skeletonllm.skeleton.formats import ntu, nwucla, read
from skeletonllm.skeleton.labels import load_labels
from tests.makers import make_clip

NTU_NAME = "S001C002P003R001A007"


def ntu_file(folder: Path, name: str = NTU_NAME) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ntu.write(make_clip("a", "kinect_v2_25"), folder / f"{name}.skeleton")
    return folder / f"{name}.skeleton"


def labelled(root: Path, path: Path):
    (clip,) = read(path)
    return load_labels(root).apply(clip, path)


def test_the_official_lists_are_complete():
    assert len(NTU_120.actions) == len(set(NTU_120.actions)) == 120
    assert NTU_60.actions == NTU_120.actions[:60]
    assert (NTU_120.actions[0], NTU_120.actions[6], NTU_120.actions[59]) == (
        "drink water",
        "throw",
        "walking apart from each other",
    )
    assert len(NW_UCLA.actions) == 10


def test_a_number_in_the_file_name_becomes_the_official_name(tmp_path):
    clip = labelled(tmp_path, ntu_file(tmp_path / "ntu"))
    assert (clip.action, clip.source.subject, clip.source.camera) == ("throw", "P003", "2")
    assert clip.source.dataset == "ntu"
    nwucla.write(make_clip(), tmp_path / "ntu" / "a11_s02_e01_v03.json")
    assert labelled(tmp_path, tmp_path / "ntu" / "a11_s02_e01_v03.json").action == "throw"


def test_names_of_the_data_set_itself_stand_before_the_official_ones(tmp_path):
    path = ntu_file(tmp_path / "ntu")
    (tmp_path / "actions.txt").write_text("".join(f"mine {n}\n" for n in range(1, 8)))
    assert labelled(tmp_path, path).action == "mine 7"
    (tmp_path / "ntu" / "actions.txt").write_text("only one\n")
    with pytest.raises(FormatError, match=r"action number 7.*has 1 names"):
        labelled(tmp_path, path)


def test_a_table_stands_before_everything(tmp_path):
    path = ntu_file(tmp_path / "wave" / "ntu")
    (tmp_path / "actions.txt").write_text("one\n")
    (tmp_path / "labels.csv").write_text(
        f'clip_id,action,subject,camera,caption\n{NTU_NAME},bow,Ann,front,"she bows, low"\n'
    )
    clip = labelled(tmp_path, path)
    assert (clip.action, clip.source.subject, clip.source.camera) == ("bow", "Ann", "front")
    assert clip.captions == ("she bows, low",)


def test_the_nearest_table_wins_and_empty_fields_say_nothing(tmp_path):
    path = ntu_file(tmp_path / "a")
    (tmp_path / "labels.csv").write_text(f"clip_id,action\n{NTU_NAME},far\n")
    (tmp_path / "a" / "labels.csv").write_text(f"clip_id,action,subject\n{NTU_NAME},near,\n")
    clip = labelled(tmp_path, path)
    assert (clip.action, clip.source.subject) == ("near", "P003")


def test_several_rows_of_a_clip_give_several_captions(tmp_path):
    path = ntu_file(tmp_path)
    (tmp_path / "labels.csv").write_text(f"clip_id,caption\n{NTU_NAME},one\n{NTU_NAME},two\n")
    assert labelled(tmp_path, path).captions == ("one", "two")


def test_class_folders_name_actions_only_where_siblings_do_too(tmp_path):
    wave = ntu_file(tmp_path / "wave", "one")
    assert labelled(tmp_path, wave).action is None, "a single folder is no class folder"
    other = tmp_path / "more"
    wave, bow = ntu_file(other / "wave", "one"), ntu_file(other / "bow", "two")
    assert labelled(other, wave).action == "wave"
    assert labelled(other, bow).action == "bow"
    third = tmp_path / "third"
    joints = ntu_file(third / "joints", "one")
    ntu_file(third / "new_joints", "one")
    assert labelled(third, joints).action is None, "folders of a known layout are no classes"


def test_labels_of_a_pickle_are_named_by_actions_txt(tmp_path):
    clip = make_clip("c0", action="label 1")
    path = tmp_path / "set" / "all.pkl"
    path.parent.mkdir()
    path.touch()
    assert load_labels(tmp_path).apply(clip, path).action == "label 1"
    (tmp_path / "set" / "actions.txt").write_text("zero\none\n")
    assert load_labels(tmp_path).apply(clip, path).action == "one"
    with pytest.raises(FormatError, match="action number"):
        load_labels(tmp_path).apply(replace(clip, action="label 2"), path)


def test_a_label_without_a_clip_is_reported(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "labels.csv").write_text("clip_id,action\none,x\ntwo,x\n")
    labels = load_labels(tmp_path)
    assert labels.unused(["a/one", "a/deep/two"]) == []
    assert labels.unused(["one"]) == [f"{tmp_path / 'a' / 'labels.csv'}: two"]
    assert len(labels.unused(["b/one", "b/two"])) == 2


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "line 1: found columns nothing"),
        ("name,action\n", "line 1: found columns name, action, expected clip_id"),
        ("clip_id,action\na,b,c\n", "line 2: found more or fewer fields"),
        ("clip_id,action\na\n", "line 2: found more or fewer fields"),
        ("clip_id,action\n,b\n", "line 2: found an empty clip_id"),
        ("clip_id,action\na,b\na,c\n", "line 3: found other labels for clip 'a'"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(tmp_path, table, says):
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(FormatError) as error:
        load_labels(tmp_path)
    assert says in str(error.value)


def test_a_table_that_is_no_text_and_a_gap_in_actions_are_named(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"clip_id,action\n\xff\xfe,x\n")
    with pytest.raises(FormatError, match="UTF-8"):
        load_labels(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "actions.txt").write_text("one\n\nthree\n")
    with pytest.raises(FormatError, match="line 2"):
        load_labels(tmp_path)
