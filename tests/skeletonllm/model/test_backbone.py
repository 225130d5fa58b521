import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.model.backbone import load_backbone, read_processor
from skeletonllm.model.config import BackboneConfig
from skeletonllm.model.families.bridge import Pixels
from skeletonllm.model.families.internvl import InternVLBridge
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.tiny import train_tokenizer
from tests.makers import make_clip
from tests.students import ACTIONS, SMALL, folder_student, write_internvl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_internvl(tmp_path_factory.mktemp("internvl"))


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def load(folder):
    return load_backbone(BackboneConfig(name=str(folder)))


def test_a_model_is_loaded_from_a_folder_with_its_processor_s_numbers(folder):
    backbone = load(folder)
    assert backbone.bridge == InternVLBridge(Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 32, 4)
    assert type(backbone.mllm).__module__.startswith("transformers.")


def test_a_student_learns_through_a_chat_template_and_is_saved_without_the_backbone(folder, tmp_path):
    student = folder_student(folder)
    student.set_trainable(("renderer", "projector", "language_adapter"))
    batch = student.renderer.collate([make_clip()])
    student(batch, ["which?"], ["wave"]).backward()
    assert float(student.renderer.modulator.colors.grad.abs().sum()) > 0
    student.save_pretrained(tmp_path / "student")
    assert not (tmp_path / "student" / "backbone").exists()
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student")
    assert torch.equal(student.rank(batch, ["which?"], ACTIONS), loaded.rank(batch, ["which?"], ACTIONS))


def test_frames_that_the_model_must_resize_are_told(folder, caplog):
    caplog.set_level("INFO")
    folder_student(folder)
    assert not [record for record in caplog.records if "px" in record.message]
    folder_student(folder, render=replace(SMALL, size_px=48))
    assert "drawn with 48 px and resized to the 32 px" in caplog.text
    assert "render.size_px=32" in caplog.text


def test_the_numbers_of_the_processors_are_found_in_each_file_that_may_hold_them(tmp_path):
    assert read_processor(str(tmp_path)).image == {}
    (tmp_path / "preprocessor_config.json").write_text('{"size": 1}')
    assert read_processor(str(tmp_path)).video == {"size": 1}
    (tmp_path / "video_preprocessor_config.json").write_text('{"size": 2}')
    assert read_processor(str(tmp_path)).video == {"size": 2}
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 3}, "video_processor": {"size": 4}}')
    both = read_processor(str(tmp_path))
    assert (both.image, both.video) == ({"size": 3}, {"size": 4})


def test_a_chat_template_is_found_beside_the_tokenizer_too(copied):
    template = (copied / "chat_template.jinja").read_text()
    (copied / "chat_template.jinja").unlink()
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load(copied).tokenizer.chat_template == template


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(BackendError, match=r"backbone '.*none' cannot be loaded .*; give the name of a model"):
        load(tmp_path / "none")


def test_a_folder_without_weights_is_one_clear_error(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"backbone '.*copy' is a folder without weights .*; give one that"):
        load(copied)


def test_a_model_that_sees_no_pictures_is_one_clear_error(tmp_path):
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model family 'llama' is not multimodal.*gemma3, .*smolvlm"):
        load(tmp_path)


def test_a_model_that_brings_code_of_its_own_is_one_clear_error(tmp_path):
    code = {"AutoConfig": "made.Config", "AutoModel": "made.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "auto_map": code}))
    with pytest.raises(ConfigError, match="runs code that comes with it, which we never do"):
        load(tmp_path)


def test_a_model_without_the_numbers_of_its_pixels_is_one_clear_error(copied):
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (copied / file).unlink()
    with pytest.raises(ConfigError, match="no image_mean and no image_std"):
        load(copied)


def test_the_tokenizer_made_on_the_spot_writes_any_text_back():
    tokenizer = train_tokenizer(ACTIONS, 300)
    for text in (*ACTIONS, "Zürich 手 <end>?", ""):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert len(tokenizer("wave", add_special_tokens=False)["input_ids"]) < 4
