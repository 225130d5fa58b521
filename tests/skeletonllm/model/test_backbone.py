import pytest
import torch

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.model.backbone import load_backbone, make_bridge
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.model.internvl import InternVLBridge
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.tiny import train_tokenizer
from tests.makers import make_clip
from tests.students import ACTIONS, SMALL, write_internvl

LORA = AdapterConfig(kind="lora", rank=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_internvl(tmp_path_factory.mktemp("internvl"))


def test_a_family_is_loaded_from_a_folder_with_its_processor_s_numbers(folder):
    backbone = load_backbone(BackboneConfig(name=str(folder)))
    assert backbone.bridge == InternVLBridge(32, 1, (0.5,) * 3, (0.25,) * 3)
    assert type(backbone.mllm).__module__.startswith("transformers.")


def test_a_student_on_it_learns_through_its_chat_template_and_is_saved_without_the_backbone(folder, tmp_path):
    student = SkeletonLLM.build(StudentConfig(BackboneConfig(name=str(folder)), LORA, SMALL))
    student.set_trainable(("renderer", "projector", "language_adapter"))
    text = student.tokenizer.decode(student._prompt_ids("which?", 2))
    assert text.startswith("<|user|>\nFrame1: <img><IMG_CONTEXT></img>\nFrame2: <img><IMG_CONTEXT></img>\n")
    assert text.endswith("which?\n<|assistant|>")
    batch = student.renderer.collate([make_clip()])
    student(batch, ["which?"], ["wave"]).backward()
    assert float(student.renderer.modulator.colors.grad.abs().sum()) > 0
    student.save_pretrained(tmp_path / "student")
    assert not (tmp_path / "student" / "backbone").exists()
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student")
    assert torch.equal(student.rank(batch, ["which?"], ACTIONS), loaded.rank(batch, ["which?"], ACTIONS))


def test_a_checkpointed_backbone_has_the_same_gradient(folder):
    gradients = []
    for checkpointing in (False, True):
        config = BackboneConfig(name=str(folder), gradient_checkpointing=checkpointing)
        student = SkeletonLLM.build(StudentConfig(config, LORA, SMALL)).train()
        student(student.renderer.collate([make_clip()]), ["which?"], ["wave"]).backward()
        gradients.append(student.renderer.modulator.colors.grad)
    assert torch.allclose(*gradients, atol=1e-7)


def test_frames_of_another_size_are_resized_within_their_range_and_normalised():
    bridge = InternVLBridge(32, 1, (0.5,) * 3, (0.25,) * 3)
    frames = torch.zeros(1, 2, 3, 64, 64)
    frames[..., 32:] = 1
    pixels = bridge.pack(frames)["pixel_values"]
    assert pixels.shape == (2, 3, 32, 32)
    assert float(pixels.min()) == -2
    assert float(pixels.max()) == 2


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(BackendError, match=r"backbone '.*none' cannot be loaded .*; give the name of a model"):
        load_backbone(BackboneConfig(name=str(tmp_path / "none")))


def test_a_family_without_a_bridge_is_refused_with_the_known_ones():
    class Config:
        model_type = "pixel-poet"

    with pytest.raises(ConfigError, match="family 'pixel-poet' has no bridge; known are internvl"):
        make_bridge(Config(), {})


def test_the_tokenizer_made_on_the_spot_writes_any_text_back():
    tokenizer = train_tokenizer(ACTIONS, 300)
    for text in (*ACTIONS, "Zürich 手 <end>?", ""):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert len(tokenizer("wave", add_special_tokens=False)["input_ids"]) < 4
