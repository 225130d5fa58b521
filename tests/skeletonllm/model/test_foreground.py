"""The language model reads the visual tokens that show something, at their own places, and no others."""

from dataclasses import replace

import pytest
import torch

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import BackboneConfig
from skeletonllm.model.foreground import foreground_only, shown_tokens
from tests.families import FAMILIES
from tests.makers import make_clip
from tests.students import folder_student, tiny_student

PROMPTS = ["which?", "which one of all is it?"]
CANDIDATES = ["wave", "bow", "sit down"]


@pytest.fixture(scope="module", params=FAMILIES)
def student(request, family_folder):
    return folder_student(family_folder(request.param)).eval()


def drawn(num_frames=4):
    """Two clips of frames with something in a corner, and one that shows nothing at all."""
    frames = torch.zeros(2, num_frames, 3, 32, 32)
    frames[0, :, :, :10, :10] = 0.8
    frames[1, 1:, 1, 20:, 2:6] = 0.5
    return frames


def features(student, frames):
    """What stands for each visual token of a clip, `[tokens width]`."""
    pixels = student.bridge.pack(frames)
    kind = "video" if "pixel_values_videos" in pixels else "image"
    output = getattr(student.mllm.model, f"get_{kind}_features")(**pixels, return_dict=True).pooler_output
    output = output if isinstance(output, torch.Tensor) else torch.cat(tuple(output))
    return output.flatten(0, -2)


@torch.inference_mode()
def test_tokens_stand_in_the_text_in_the_order_of_their_patches(student):
    black = torch.zeros(1, 4, 3, 32, 32)
    steps, rows, columns = student.bridge.token_grid(4, 32, 32)
    plain = features(student, black)
    for step, row, column in ((0, 0, 0), (0, 0, columns - 1), (1, rows - 1, 0), (steps - 1, rows - 1, columns - 1)):
        lit = black.clone()
        tall, wide, each = 32 // rows, 32 // columns, 4 // steps
        lit[
            :, step * each : (step + 1) * each, :, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide
        ] = 1
        number = (step * rows + row) * columns + column
        changed = (features(student, lit) - plain).norm(dim=-1)
        assert int(changed.argmax()) == number
        assert shown_tokens(lit, student.bridge)[0, number]


def test_shown_are_the_patches_with_more_than_a_share_of_light_and_one_of_each_dark_frame():
    bridge = tiny_student().bridge
    frames = torch.zeros(1, 3, 3, 32, 32)
    frames[0, 0, 0, :16, :4] = 0.5  # a quarter of the first patch
    frames[0, 1, 0, 16:, 16:] = 1 / 255  # nobody sees that
    bridge = replace(bridge, tokens_per_frame=4)
    first_only = [True, False, False, False]
    assert shown_tokens(frames, bridge).tolist() == [first_only * 3]
    frames[0, 0, 0, 16:, 16:] = 1
    assert shown_tokens(frames, bridge, 0.2)[0, :4].tolist() == [True, False, False, True]
    assert shown_tokens(frames, bridge, 0.25)[0, :4].tolist() == [False, False, False, True]


@torch.inference_mode()
def test_where_everything_is_shown_nothing_changes(student):
    frames = drawn()
    inputs = student._inputs(frames, PROMPTS)
    shown = torch.ones(2, shown_tokens(frames, student.bridge).shape[1], dtype=torch.bool)
    less = foreground_only(student.mllm, inputs, shown, student.chat.pad_id)
    torch.testing.assert_close(
        student.mllm(**less, logits_to_keep=1).logits, student.mllm(**inputs, logits_to_keep=1).logits
    )


@torch.inference_mode()
def test_tokens_that_are_left_out_are_as_if_nobody_looked_at_them(student, request):
    if "gemma3" in request.node.name:
        pytest.skip("Gemma's window counts the tokens that are there")
    frames = drawn()
    inputs = student._inputs(frames, PROMPTS)
    shown = shown_tokens(frames, student.bridge)
    less = foreground_only(student.mllm, inputs, shown, student.chat.pad_id)
    assert less["input_ids"].shape[1] < inputs["input_ids"].shape[1]
    config = student.mllm.config
    token = config.video_token_id if "video" in less["mm_encoder_outputs"] else config.image_token_id
    visual = inputs["input_ids"] == token
    extra = int(visual.sum(1)[0]) - shown.shape[1]
    unseen = torch.zeros_like(visual).masked_scatter(visual, torch.nn.functional.pad(~shown, (0, extra)))
    whole = {**inputs, "attention_mask": inputs["attention_mask"].masked_fill(unseen, 0)}
    torch.testing.assert_close(
        student.mllm(**less, logits_to_keep=1).logits,
        student.mllm(**whole, logits_to_keep=1).logits,
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_student_with_the_setting_ranks_and_writes_and_learns_by_what_is_shown(student, family_folder, request):
    fewer = folder_student(family_folder(request.node.callspec.params["student"]), foreground=0.0).eval()
    batch = fewer.renderer.collate([make_clip("a"), make_clip("b", seed=1)])
    with torch.inference_mode():
        frames = fewer.renderer(batch)
        assert (
            fewer._inputs(frames, PROMPTS)["input_ids"].shape[1]
            <= student._inputs(frames, PROMPTS)["input_ids"].shape[1]
        )
        naive = [
            [-float(fewer._answer_loss(frames[row : row + 1], [prompt], [text])) for text in CANDIDATES]
            for row, prompt in enumerate(PROMPTS)
        ]
    torch.testing.assert_close(fewer.rank(batch, PROMPTS, CANDIDATES), torch.tensor(naive), rtol=0, atol=1e-5)
    assert set(fewer.generate(batch, PROMPTS, candidates=CANDIDATES)) <= set(CANDIDATES)
    fewer.loss(batch, PROMPTS, CANDIDATES[:2]).backward()
    gradients = [weight.grad for weight in fewer.renderer.parameters() if weight.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_each_written_token_is_the_likeliest_after_the_ones_before(student):
    frames = drawn()[:1]
    shown = shown_tokens(frames, student.bridge)

    def inputs(answers=None):
        whole = student._inputs(frames, PROMPTS[:1], answers=answers)
        return foreground_only(student.mllm, whole, shown, student.chat.pad_id)

    with torch.inference_mode():
        start = inputs()
        written = student.mllm.generate(**start, max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
        tail = written[0, start["input_ids"].shape[1] :].tolist()
        for end in range(5):
            logits = student.mllm(**inputs([tail[:end]]), logits_to_keep=1).logits
            assert int(logits[0, -1].argmax()) == tail[end]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_cannot_be_is_one_clear_error(share):
    with pytest.raises(ConfigError, match=r"backbone\.foreground is .* below 1, or left out"):
        BackboneConfig(foreground=share)
