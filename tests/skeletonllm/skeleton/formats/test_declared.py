"""`recordings.toml`: found above the recording, strict, and weaker than the command line."""

from dataclasses import replace

import pytest

from skeletonllm.errors import ConfigError, FormatError
from skeletonllm.skeleton.formats import Declared, ntu, nwucla, read
from skeletonllm.skeleton.formats.declared import (
    FILE_NAME,
    declaration_of,
    find_declaration,
    read_declaration,
    topology_named,
)
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip
from tests.skeletonllm.skeleton.formats.test_bvh import SMALL

OWN = 'joints = ["hips", "chest", "head", "left_hand"]\nparents = ["", "hips", "chest", "chest"]\n'


def written(folder, text):
    (folder / FILE_NAME).write_text(text)
    return folder / FILE_NAME


def test_ten_lines_say_all_that_plain_files_do_not(tmp_path):
    said = read_declaration(
        written(
            tmp_path,
            'topology = "coco_17"\ndims = 3\nfps = 25\nunit = "cm"\nup = "+z"\n'
            'dataset = "gait-lab"\nlicence = "CC-BY-4.0"\norigin = "our lab"\n',
        )
    )
    assert said.declared == Declared(replace(TOPOLOGIES["coco_17"], dims=3), 25.0, "cm", "+z")
    assert (said.dataset, said.licence, said.origin) == ("gait-lab", "CC-BY-4.0", "our lab")


def test_a_topology_of_one_s_own_is_joints_and_parents(tmp_path):
    topology = read_declaration(written(tmp_path, OWN + 'name = "robot"\n')).declared.topology
    assert topology is not None
    assert (topology.name, topology.joint_names[3], topology.parents) == ("robot", "left_hand", (-1, 0, 1, 1))
    assert topology.parts == ("pelvis", "chest", "head", "hand")
    assert topology_named(str(tmp_path / FILE_NAME)) == topology


def test_parts_say_what_joints_are_whose_names_do_not(tmp_path):
    text = 'joints = ["a", "b", "c"]\nparents = [-1, 0, 0]\nparts = ["pelvis", "hand", "hand"]\nmirror = [["b", "c"]]'
    topology = read_declaration(written(tmp_path, text)).declared.topology
    assert topology is not None
    assert topology.sides == ("center", "left", "right")


def test_the_nearest_file_wins_and_none_above_the_root_is_seen(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    written(tmp_path, "fps = 10\n")
    assert find_declaration(inner / "x.csv") == tmp_path / FILE_NAME
    assert declaration_of(inner / "x.csv", root=tmp_path / "a") is None
    written(inner, "fps = 20\n")
    nearest = declaration_of(inner / "x.csv", root=tmp_path / "a")
    assert nearest is not None
    assert nearest.declared.fps == 20
    assert find_declaration(inner) == inner / FILE_NAME


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("topologie = 'x'", r"recordings\.toml, key 'topologie': .*did you mean 'topology'"),
        ("topology = 'coco17'", r"key topology: found 'coco17', expected one of .*did you mean 'coco_17'"),
        ("topology = 17", r"key topology: found 17, expected a text"),
        ("fps = 0", r"key fps: found 0"),
        ("fps = true", r"key fps: found True, expected a number"),
        ("fps = nan", r"key fps: found nan"),
        ("unit = 'furlong'", r"key unit: found 'furlong'.*one of m, cm"),
        ("up = 'z'", r"key up: found 'z'"),
        ("dims = 4", r"key dims: found 4"),
        ("dims = 2", r"key dims: found no topology"),
        ("parents = []", r"key parents: found no joints"),
        ("topology = 'coco_17'\n" + OWN, r"keys topology and joints: found both"),
        (OWN.replace('"chest", "chest"]', '"chest"]'), r"key parents: found 3 parents, expected one for each of the 4"),
        (OWN.replace('"", "hips"', '"", "hpis"'), r"key parents: found 'hpis', .*did you mean 'hips'"),
        (OWN.replace('"", "hips"', '"head", "hips"'), r"key parents: .*0 roots"),
        (OWN.replace('"", "hips"', '"", true'), r"key parents: found True"),
        (OWN.replace('"left_hand"', '"head"'), r"key joints: found 'head' twice"),
        (OWN.replace('"left_hand"', '"zork"'), r"key joints: .*zork.*add `parts`"),
        (OWN + 'parts = ["pelvis"]', r"key parts: found 1 parts"),
        (OWN + 'parts = ["pelvis", "x", "x", "x"]', r"unknown body parts"),
        (OWN + "mirror = 3", "key mirror"),
        ("fps 3", r"expected TOML"),
        ("fps = " + "9" * 5000, r"expected TOML"),
        ("\x00", r"expected TOML"),
        ("joints = " + "[" * 5000, r"expected TOML"),
    ],
)
def test_what_cannot_be_is_one_error_with_file_and_key(tmp_path, text, says):
    with pytest.raises(FormatError, match=says):
        read_declaration(written(tmp_path, text))


def test_an_unknown_topology_on_the_command_line_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'kinect_v2_25'"):
        topology_named("kinect_v2")


def test_formats_that_know_their_unit_are_read_below_a_file_that_says_one(tmp_path):
    written(tmp_path, 'topology = "coco_17"\nunit = "cm"\nup = "+z"\ndataset = "lab"\n')
    ntu.write(make_clip("a", "kinect_v2_25"), tmp_path / "a.skeleton")
    (clip,) = read(tmp_path / "a.skeleton")
    assert clip.topology.name == "kinect_v2_25"
    assert clip.source.dataset == "lab"
    with pytest.raises(ConfigError, match="leave --unit out"):
        read(tmp_path / "a.skeleton", declared=Declared(unit="cm"))


def test_a_rate_wins_over_a_convention_but_not_over_what_the_file_says(tmp_path):
    written(tmp_path, "fps = 12.5\n")
    nwucla.write(make_clip("a"), tmp_path / "a.json")
    (tmp_path / "b.bvh").write_text(SMALL)
    (clip,), (mocap,) = read(tmp_path / "a.json"), read(tmp_path / "b.bvh")
    assert (clip.fps, clip.source.fps_from) == (12.5, "declared")
    assert mocap.source.fps_from == "file"
    (told,) = read(tmp_path / "b.bvh", declared=Declared(fps=60.0))
    assert (told.fps, told.source.fps_from) == (60.0, "declared")
    (outside,) = read(tmp_path / "a.json", root=tmp_path / "elsewhere")
    assert outside.fps == 12.5  # the root is not above it: all folders are looked at
