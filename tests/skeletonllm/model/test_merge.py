import pytest
import torch

from skeletonllm.errors import CheckpointError, ConfigError
from skeletonllm.model import merge
from skeletonllm.model.config import BackboneConfig, StudentConfig
from skeletonllm.model.merge import check_mergeable, fold_adapter, merge_student
from skeletonllm.model.sameness import answers_of, candidates_of, check_clips, check_same
from skeletonllm.model.stored import read_stored
from skeletonllm.model.student import SkeletonLLM
from tests.skeletonllm.model.backbones import BACKBONES, LORA, family_student, moved
from tests.students import SMALL


def silent(done: int, note: str = "") -> None:
    pass


@pytest.mark.parametrize("family", BACKBONES)
def test_a_merged_student_answers_alike_and_needs_nothing_else(family, tmp_path):
    student = family_student(str(BACKBONES[family](tmp_path / "backbone")))
    student.save_pretrained(tmp_path / "student")
    found = merge_student(tmp_path / "student", tmp_path / "merged", num_clips=3)
    (tmp_path / "backbone").rename(tmp_path / "gone")
    merged = SkeletonLLM.from_pretrained(tmp_path / "merged").eval()
    assert not [name for name, _ in merged.named_parameters() if "lora_" in name]
    assert (merged.config.adapter.kind, merged.whole) == ("full", True)
    clips = check_clips(4, seed=7)  # others than those of the check
    before, after = answers_of(student, clips, silent), answers_of(merged, clips, silent)
    difference = check_same(before, after, "float32")
    assert 0 < difference.logits <= difference.allowed
    assert torch.equal(before.scores.argmax(1), after.scores.argmax(1))
    assert 0 < found.logits < 1e-4
    assert "LoRA folded into" in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(ConfigError, match="has no LoRA, and its backbone is inside already"):
        check_mergeable(tmp_path / "merged", read_stored(tmp_path / "merged"))


def test_the_adapter_really_does_something_before_it_is_folded(tmp_path):
    backbone = str(BACKBONES["internvl"](tmp_path / "backbone"))
    plain = SkeletonLLM.build(StudentConfig(BackboneConfig(name=backbone), LORA, SMALL)).eval()
    clips = check_clips(2)
    before = answers_of(plain, clips, silent)
    with pytest.raises(CheckpointError, match=r"the answers changed: logits by .*; nothing was written"):
        check_same(before, answers_of(moved(plain, by=0.1), clips, silent), "float32")


def test_a_fold_that_changes_the_answers_writes_nothing(tmp_path, monkeypatch):
    family_student(str(BACKBONES["internvl"](tmp_path / "backbone"))).save_pretrained(tmp_path / "student")

    def forget(student):
        from peft.tuners.lora import LoraLayer

        for layer in student.mllm.modules():
            if isinstance(layer, LoraLayer):
                layer.lora_A.clear()
        return 1

    monkeypatch.setattr(merge, "fold_adapter", forget)
    with pytest.raises(CheckpointError, match="the answers changed"):
        merge_student(tmp_path / "student", tmp_path / "merged", num_clips=2)
    assert not (tmp_path / "merged").exists()


def test_an_adapter_that_is_not_a_number_is_refused(tmp_path):
    student = family_student(str(BACKBONES["internvl"](tmp_path / "backbone")))
    with torch.no_grad():
        next(iter(student.named_parts()["language_adapter"].values())).fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"cannot be folded .*train it again"):
        fold_adapter(student)


def test_in_bfloat16_only_rounding_moves(tmp_path):
    backbone = str(BACKBONES["internvl"](tmp_path / "backbone"))
    student = SkeletonLLM.build(StudentConfig(BackboneConfig(name=backbone, dtype="bfloat16"), LORA, SMALL))
    moved(student).save_pretrained(tmp_path / "student")
    assert merge_student(tmp_path / "student", tmp_path / "merged", num_clips=2).logits > 0
    assert SkeletonLLM.from_pretrained(tmp_path / "merged").mllm.dtype == torch.bfloat16


def test_the_candidates_are_those_of_training_where_they_are_known(tmp_path):
    from skeletonllm.model.about import About
    from tests.students import tiny_student

    student = tiny_student()
    assert len(candidates_of(student)) > 3
    student.about = About(actions=("hop", "skip"))
    assert candidates_of(student) == ("hop", "skip")
