"""Pixels and texts of each family beside those of its own processor."""

import json

import pytest
import torch
import transformers as hf

from skeletonllm.errors import ConfigError
from skeletonllm.model.backbone import read_processor
from skeletonllm.model.chat import Chat
from skeletonllm.model.families import FAMILIES as BRIDGES
from skeletonllm.model.families import make_bridge
from skeletonllm.model.families.bridge import Processor
from tests.families import FAMILIES, family_tokenizer, smooth_frames
from tests.golden.make_processors import CASES, GOLDEN, QUESTIONS, asked, digest

_FORWARD = {"input_ids", "attention_mask", "pixel_attention_mask"}


def bridge_and_chat(name, folder):
    bridge = make_bridge(hf.AutoConfig.from_pretrained(folder), read_processor(str(folder)))
    return bridge, Chat(family_tokenizer(name), bridge)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_pixels_and_texts_are_those_of_the_family_s_own_processor(family_folder, name, case):
    num_frames, size_px = case
    recorded = json.loads(GOLDEN.read_text())[f"{name} {num_frames} x {size_px}"]
    bridge, chat = bridge_and_chat(name, family_folder(name))
    packed = bridge.pack(smooth_frames(len(QUESTIONS), num_frames, size_px))
    rows = [chat.prompt_ids(question, num_frames, size_px, size_px) for question in QUESTIONS]
    assert [family_tokenizer(name).decode(row) for row in rows] == recorded["texts"]
    found = digest(packed.pop(FAMILIES[name].forward))
    for key, value in recorded["pixels"].items():
        assert found[key] == pytest.approx(value, abs=2e-6)
    others = {**packed, **bridge.token_types(chat.left_padded(rows)[0])}
    assert {key: value.tolist() for key, value in others.items()} == {
        key: value for key, value in recorded.items() if key not in ("texts", "pixels")
    }


@pytest.mark.parametrize(
    ("name", "processor", "image_processor", "tokens"),
    [
        ("gemma3", "Gemma3Processor", "Gemma3ImageProcessorPil", "image_seq_length"),
        ("smolvlm", "Idefics3Processor", "Idefics3ImageProcessorPil", "image_seq_len"),
    ],
)
def test_a_processor_that_needs_no_torchvision_makes_the_same_inputs(
    family_folder, name, processor, image_processor, tokens
):
    bridge, chat = bridge_and_chat(name, family_folder(name))
    tokenizer = family_tokenizer(name)
    frames = (smooth_frames(2, 3, 32) * 255).round() / 255  # this backend goes through whole numbers
    official = getattr(hf, processor)(
        image_processor=getattr(hf, image_processor)(**FAMILIES[name].image), tokenizer=tokenizer, **{tokens: 4}
    )(
        text=asked(tokenizer, "image", 3),
        images=[[frame.numpy() for frame in clip] for clip in frames],
        do_rescale=False,
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )
    ids, mask = chat.left_padded([chat.prompt_ids(question, 3, 32, 32) for question in QUESTIONS])
    ours = {"input_ids": ids, "attention_mask": mask, **bridge.pack(frames), **bridge.token_types(ids)}
    assert ours.keys() >= official.keys() - {"pixel_attention_mask"}
    for key, values in ours.items():
        torch.testing.assert_close(values, official[key], rtol=0, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_frames_of_the_model_s_own_size_are_normalised_and_nothing_else(family_folder, name):
    bridge, _ = bridge_and_chat(name, family_folder(name))
    black = bridge.pack(torch.zeros(1, 2, 3, 32, 32))[FAMILIES[name].forward]
    white = bridge.pack(torch.ones(1, 2, 3, 32, 32))[FAMILIES[name].forward]
    expected = sorted(1 / std for std in bridge.pixels.std)
    assert sorted({round(value, 4) for value in (white - black).flatten().tolist()}) == pytest.approx(
        sorted({round(value, 4) for value in expected}), abs=2e-4
    )
    edge = torch.zeros(1, 2, 3, 32, 32)
    edge[..., 16:] = 1
    values = bridge.pack(edge)[FAMILIES[name].forward]
    assert values.unique().tolist() == pytest.approx(torch.cat((black, white)).unique().tolist())


@pytest.mark.parametrize("name", FAMILIES)
def test_frames_of_another_size_stay_between_black_and_white(family_folder, name):
    bridge, _ = bridge_and_chat(name, family_folder(name))
    edge = torch.zeros(1, 2, 3, 44, 44)
    edge[..., 22:] = 1
    values = bridge.pack(edge)[FAMILIES[name].forward]
    lowest = min(-mean / std for mean, std in zip(bridge.pixels.mean, bridge.pixels.std, strict=True))
    highest = max((1 - mean) / std for mean, std in zip(bridge.pixels.mean, bridge.pixels.std, strict=True))
    assert float(values.min()) == pytest.approx(lowest, abs=1e-5)
    assert float(values.max()) == pytest.approx(highest, abs=1e-5)


def test_a_family_without_a_bridge_is_refused_with_the_known_ones():
    class Config:
        model_type = "pixel-poet"

    with pytest.raises(ConfigError, match="family 'pixel-poet' has no bridge; known are gemma3, idefics3, internvl"):
        make_bridge(Config(), Processor({}, {}))


@pytest.mark.parametrize("name", BRIDGES)
def test_every_bridge_is_of_a_model_that_transformers_has(name):
    assert name in hf.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING._model_mapping
