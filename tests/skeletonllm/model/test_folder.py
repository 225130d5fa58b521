import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeletonllm.errors import CheckpointError
from skeletonllm.model import weights
from skeletonllm.model.config import BackboneConfig
from skeletonllm.model.sameness import first_logits, inputs_of
from skeletonllm.model.stored import STUDENT, read_stored, write_stored
from skeletonllm.model.student import SkeletonLLM
from tests.makers import make_clip
from tests.skeletonllm.model.backbones import BACKBONES, KINDS, family_student, moved, student_of
from tests.students import ACTIONS, tiny_student

CLIP = make_clip()


def logits(student: SkeletonLLM) -> torch.Tensor:
    return first_logits(student.mllm, inputs_of(student, CLIP))


def rank(student: SkeletonLLM) -> torch.Tensor:
    return student.rank(student.renderer.collate([CLIP]), ["which?"], ACTIONS)


@pytest.mark.parametrize("whole", [False, True], ids=["named", "whole"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_student_comes_back_with_the_same_logits_to_the_bit(kind, whole, tmp_path):
    student = student_of(kind, tmp_path / "backbone")
    student.save_pretrained(tmp_path / "student", whole=whole)
    if whole:
        shutil.rmtree(tmp_path / "backbone", ignore_errors=True)  # nothing else is needed
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student").eval()
    assert torch.equal(logits(student), logits(loaded))
    assert torch.equal(rank(student), rank(loaded))
    loaded.save_pretrained(tmp_path / "again")
    for name in (name for name in read_stored(tmp_path / "student").files if name.endswith(".safetensors")):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "student" / name).read_bytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_every_file_is_read_once(kind, tmp_path, monkeypatch):
    student_of(kind, tmp_path / "backbone").save_pretrained(tmp_path / "student")
    read: list[tuple[str, str]] = []
    really_open = weights.safe_open

    class Counting:
        def __init__(self, path, framework):
            self.path, self.file = path, really_open(path, framework)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def get_tensor(self, name):
            read.append((self.path.name, name))
            return self.file.get_tensor(name)

    monkeypatch.setattr(weights, "safe_open", Counting)
    student = SkeletonLLM.from_pretrained(tmp_path / "student")
    parts = {f"{part}.safetensors": set(named) for part, named in student.named_parts().items()}
    assert len(read) == len(set(read))
    for file, names in parts.items():
        assert {name for where, name in read if where == file} == names


def test_the_weights_of_the_folder_do_not_hang_on_its_files(tmp_path):
    student = moved(tiny_student())
    student.save_pretrained(tmp_path / "student")
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student").eval()
    shutil.rmtree(tmp_path / "student")
    assert torch.equal(rank(student), rank(loaded))


def test_a_backbone_that_moved_can_be_named_anew(tmp_path):
    student = family_student(str(BACKBONES["internvl"](tmp_path / "here")))
    student.save_pretrained(tmp_path / "student")
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(CheckpointError, match="here: not a folder here"):
        SkeletonLLM.from_pretrained(tmp_path / "student")
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student", backbone=str(tmp_path / "there")).eval()
    assert torch.equal(rank(student), rank(loaded))
    assert loaded.config.backbone.name == str(tmp_path / "there")


def damage_json(folder: Path, change) -> None:
    plain = json.loads((folder / STUDENT).read_text())
    (folder / STUDENT).write_text(json.dumps(change(plain)))


DAMAGES = {
    "a part that is cut off": (lambda f: (f / "projector.safetensors").write_bytes(b"abc"), "projector.*damaged"),
    "a part that is missing": (lambda f: (f / "renderer.safetensors").unlink(), "renderer.*missing; copy it again"),
    "no weights at all": (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "missing; copy it again"),
    "JSON that ends early": (lambda f: (f / STUDENT).write_bytes(b"{"), "cannot be read"),
    "JSON of another kind": (lambda f: (f / STUDENT).write_bytes(b"[1]"), "damaged|not what this version"),
    "an old version": (
        lambda f: damage_json(f, lambda plain: {"format_version": 2, "config": plain["config"]}),
        "format 2, this version reads 3; train it again",
    ),
    "a setting that was changed": (
        lambda f: damage_json(f, lambda plain: {**plain, "whole": False}),
        "its bytes are not those that were written",
    ),
    "a damaged backbone": (lambda f: (f / "backbone" / "config.json").write_bytes(b"{"), "config.json: damaged"),
    "a missing tokenizer": (lambda f: (f / "backbone" / "tokenizer.json").unlink(), "tokenizer.json: missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_one_error_that_says_what_to_do(name, tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    damage, said = DAMAGES[name]
    damage(tmp_path / "student")
    with pytest.raises(CheckpointError, match=said):
        SkeletonLLM.from_pretrained(tmp_path / "student")


def test_what_is_no_student_is_refused_with_what_to_give_instead(tmp_path):
    for folder, file, said in (
        (
            "run",
            "checkpoints/step_000100/student.json",
            "a training run, not a student; give a checkpoint .*step_000100",
        ),
        ("plain", "config.json", "a plain transformers model, not a student"),
        ("pickled", "pytorch_model.bin", "holds pickled weights, which are never read"),
        ("other", "notes.txt", "no student.json, so it is no student"),
    ):
        path = tmp_path / folder / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        with pytest.raises(CheckpointError, match=said):
            SkeletonLLM.from_pretrained(tmp_path / folder)
    with pytest.raises(CheckpointError, match="a file, not a folder"):
        SkeletonLLM.from_pretrained(tmp_path / "other" / "notes.txt")
    with pytest.raises(CheckpointError, match="no such folder; give a folder that training"):
        SkeletonLLM.from_pretrained(tmp_path / "none")


def test_weights_of_another_student_are_refused(tmp_path):
    sizes = tiny_student().config.backbone.tiny
    tiny_student().save_pretrained(tmp_path / "one")
    tiny_student(backbone=BackboneConfig(name="tiny", tiny=replace(sizes, text_width=48))).save_pretrained(
        tmp_path / "two"
    )
    tiny_student(seed=1).save_pretrained(tmp_path / "three")
    for other, file, said in (
        ("two", "projector", "damaged, or not its own .*has shape"),
        ("three", "projector", "damaged, or not its own .*not those that were saved with this student"),
        ("three", "renderer", None),
    ):
        shutil.rmtree(tmp_path / "mixed", ignore_errors=True)
        shutil.copytree(tmp_path / "one", tmp_path / "mixed")
        shutil.copyfile(tmp_path / other / f"{file}.safetensors", tmp_path / "mixed" / f"{file}.safetensors")
        with pytest.raises(CheckpointError, match=said):
            SkeletonLLM.from_pretrained(tmp_path / "mixed")


def test_a_backbone_of_another_family_or_without_weights_is_refused(tmp_path):
    backbone = BACKBONES["internvl"](tmp_path / "backbone")
    family_student(str(backbone)).save_pretrained(tmp_path / "student")
    config = backbone / "config.json"
    config.write_text(config.read_text().replace('"model_type": "internvl"', '"model_type": "qwen3_vl"'))
    with pytest.raises(CheckpointError, match=r"of family 'qwen3_vl', but the student was trained on .* 'internvl'"):
        SkeletonLLM.from_pretrained(tmp_path / "student")
    config.write_text(config.read_text().replace("qwen3_vl", "internvl"))
    (backbone / "model.safetensors").rename(backbone / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"without weights as safetensors \(pickled ones are never read\)"):
        SkeletonLLM.from_pretrained(tmp_path / "student")
    (backbone / "model.safetensors").write_bytes((backbone / "pytorch_model.bin").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"its backbone .* cannot be loaded"):
        SkeletonLLM.from_pretrained(tmp_path / "student")
    config.unlink()
    with pytest.raises(CheckpointError, match=r"no readable config\.json"):
        SkeletonLLM.from_pretrained(tmp_path / "student")


def test_a_backbone_of_other_sizes_is_refused(tmp_path):
    family_student(str(BACKBONES["internvl"](tmp_path / "backbone"))).save_pretrained(tmp_path / "student")
    stored = read_stored(tmp_path / "student")
    adapter = replace(stored.config.adapter, rank=3)
    write_stored(tmp_path / "student", replace(stored, config=replace(stored.config, adapter=adapter)))
    with pytest.raises(CheckpointError, match=r"has shape .*; it belongs to another backbone or version"):
        SkeletonLLM.from_pretrained(tmp_path / "student")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    stored = read_stored(tmp_path / "student")
    write_stored(tmp_path / "student", replace(stored, files={**stored.files, "backbone/../../secret": "0"}))
    with pytest.raises(CheckpointError, match="names no file"):
        SkeletonLLM.from_pretrained(tmp_path / "student")


@cache
def saved(kind: str, place: Path) -> Path:
    student_of(kind, place / f"{kind}-backbone").save_pretrained(place / kind)
    return place / kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "internvl-lora"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_or_a_cut_file_is_one_error_and_never_another(kind, tmp_path_factory, data):
    folder = saved(kind, tmp_path_factory.getbasetemp())
    files = [folder / name for name in sorted([*read_stored(folder).files, STUDENT])]
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        # Headers are where a byte means most.
        at = data.draw(st.integers(0, min(len(whole), 600) - 1) | st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path.write_bytes(damaged)
    try:
        with pytest.raises(CheckpointError):
            SkeletonLLM.from_pretrained(folder)
    finally:
        path.write_bytes(whole)
