"""Students that go to the Hub and come back: a fake Hub on this machine, with real HTTP."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skeletonllm.errors import CheckpointError, ConfigError
from skeletonllm.model import hub
from skeletonllm.model.config import BackboneConfig
from skeletonllm.model.sharing import push_folder
from skeletonllm.model.stored import read_stored
from skeletonllm.model.student import SkeletonLLM
from tests.fake_hub import TOKEN, serve_hub
from tests.makers import make_clip
from tests.skeletonllm.model.backbones import BACKBONES, family_student
from tests.students import ACTIONS, tiny_student


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with serve_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rank(student: SkeletonLLM) -> torch.Tensor:
    return student.rank(student.renderer.collate([make_clip()]), ["which?"], ACTIONS)


def test_a_student_goes_to_the_hub_with_its_card_and_comes_back_with_the_same_answers(fake_hub):
    student = tiny_student()
    address = student.push_to_hub("me/student")
    commit, files = fake_hub.find("me/student", "main")
    assert address == f"{fake_hub.url}/me/student/commit/{commit}"
    assert files["README.md"].startswith(b"---\nlibrary_name: skeletonllm\n")
    assert torch.equal(rank(SkeletonLLM.from_pretrained("me/student")), rank(student))


def test_what_the_new_version_does_not_have_is_removed_from_the_hub(fake_hub):
    fake_hub.add("me/student", {"old.safetensors": b"", "backbone/old.json": b"", "notes.txt": b"mine"})
    tiny_student().push_to_hub("me/student")
    _, files = fake_hub.find("me/student", "main")
    assert not {"old.safetensors", "backbone/old.json"} & set(files)
    assert files["notes.txt"] == b"mine"


def test_a_checkpoint_goes_without_what_belongs_to_training(fake_hub, tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    (tmp_path / "student" / "engine").mkdir()
    (tmp_path / "student" / "engine" / "optimiser.bin").write_bytes(b"x")
    (tmp_path / "student" / "meta.json").write_text("{}")
    push_folder(tmp_path / "student", read_stored(tmp_path / "student"), "me/student")
    _, files = fake_hub.find("me/student", "main")
    assert not [name for name in files if name.startswith(("engine", "meta"))]
    assert SkeletonLLM.from_pretrained("me/student").config == tiny_student().config


def test_only_the_files_of_the_student_are_fetched(fake_hub, tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    fake_hub.add("me/student", {**files_of(tmp_path / "student"), "huge.bin": b"x" * 1000})
    SkeletonLLM.from_pretrained("me/student")
    assert not [line for line in fake_hub.requests if "huge" in line]


def test_a_backbone_from_the_hub_is_named_with_its_commit_which_is_used_again(fake_hub, tmp_path):
    writer = BACKBONES["internvl"]
    old = fake_hub.add("them/backbone", files_of(writer(tmp_path / "old")))
    student = family_student("them/backbone")
    student.save_pretrained(tmp_path / "student")
    stored = read_stored(tmp_path / "student")
    assert (stored.about.revision, stored.whole) == (old, False)
    assert f"`{old}`" in (tmp_path / "student" / "README.md").read_text()
    fake_hub.add("them/backbone", files_of(writer(tmp_path / "new", seed=1)))
    assert torch.equal(rank(SkeletonLLM.from_pretrained(tmp_path / "student")), rank(student))
    student.push_to_hub("me/student")
    assert torch.equal(rank(SkeletonLLM.from_pretrained("me/student")), rank(student))
    again = SkeletonLLM.from_pretrained("me/student")
    again.save_pretrained(tmp_path / "again")
    assert read_stored(tmp_path / "again").about.revision == old


def test_a_backbone_that_others_do_not_have_goes_with_the_student(fake_hub, tmp_path):
    student = family_student(str(BACKBONES["internvl"](tmp_path / "backbone")))
    student.save_pretrained(tmp_path / "student")
    with pytest.raises(CheckpointError, match="which others do not have; `skeletonllm merge"):
        push_folder(tmp_path / "student", read_stored(tmp_path / "student"), "me/student")
    student.push_to_hub("me/student")
    assert read_stored(hub.fetch("me/student", ["student.json"])).whole
    assert torch.equal(rank(SkeletonLLM.from_pretrained("me/student")), rank(student))


def test_what_cannot_be_had_or_sent_is_one_clear_error(fake_hub, tmp_path, monkeypatch):
    fake_hub.add("them/plain", {"config.json": b"{}"})
    with pytest.raises(CheckpointError, match="them/plain: is on the Hub, but no student"):
        SkeletonLLM.from_pretrained("them/plain")
    with pytest.raises(CheckpointError, match="no/body: not a folder here"):
        SkeletonLLM.from_pretrained("no/body")
    with pytest.raises(ConfigError, match="must be OWNER/NAME"):
        tiny_student().push_to_hub("just-a-name")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(
        CheckpointError, match=r"the Hub did not take it .*; check that the token of HF_TOKEN may write"
    ):
        tiny_student().push_to_hub("me/student")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CheckpointError, match="no token to write with"):
        tiny_student().push_to_hub("me/student")
    assert "me/student" not in fake_hub.repositories


def test_offline_says_so_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set, and the cache does not have it"):
        SkeletonLLM.from_pretrained("no/body")
    student = tiny_student()
    student.config = replace(student.config, backbone=BackboneConfig(name="no/body"))
    student.save_pretrained(tmp_path / "student")
    with pytest.raises(CheckpointError, match=r"no/body: not a folder here, .*HF_HUB_OFFLINE is set"):
        SkeletonLLM.from_pretrained(tmp_path / "student")
