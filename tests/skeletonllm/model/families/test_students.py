"""What a student must do on every family, and where each family lays a trap."""

import copy
from contextlib import nullcontext

import pytest
import torch

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.model.config import AdapterConfig
from skeletonllm.model.student import PARTS
from tests.families import FAMILIES, smooth_frames
from tests.makers import make_clip
from tests.students import folder_student

CLIPS = [make_clip("a"), make_clip("b", seed=1)]
PROMPTS = ["which?", "which one of all is it?"]
FEW = ["wave", "bow", "sit down", "sit", "stand up and sit down"]
MANY = [f"{verb} {what}" for verb in ("wave", "bow to", "sit on", "step over", "x") for what in map(str, range(24))]
QWEN = ("qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module", params=FAMILIES)
def student(request, family_folder):
    return folder_student(family_folder(request.param)).eval()


@pytest.fixture
def family(request, family_folder):
    return folder_student(family_folder(request.param)).eval()


def naive_scores(student, batch, prompts, candidates):
    """One forward for each candidate."""
    with torch.inference_mode():
        frames = student.renderer(batch)
        rows = [
            [-student._answer_loss(frames[row : row + 1], [prompt], [candidate]) for candidate in candidates]
            for row, prompt in enumerate(prompts)
        ]
    return torch.tensor(rows)


def test_few_candidates_are_ranked_as_one_forward_each_would(student):
    batch = student.renderer.collate(CLIPS)
    torch.testing.assert_close(
        student.rank(batch, PROMPTS, FEW), naive_scores(student, batch, PROMPTS, FEW), rtol=0, atol=1e-5
    )


def test_120_candidates_are_ranked_as_one_forward_each_would(student, monkeypatch):
    batch = student.renderer.collate(CLIPS[:1])
    scores = student.rank(batch, PROMPTS[:1], MANY)
    torch.testing.assert_close(scores, naive_scores(student, batch, PROMPTS[:1], MANY), rtol=0, atol=1e-5)
    monkeypatch.setattr("skeletonllm.model.scoring._MAX_LOGITS", 20 * len(student.tokenizer))
    torch.testing.assert_close(student.rank(batch, PROMPTS[:1], MANY), scores, rtol=0, atol=1e-5)


def test_a_batch_has_the_mean_of_the_losses_of_its_examples(student):
    answers = ["wave", "stand up and sit down"]
    alone = [
        student.loss(student.renderer.collate([clip]), [prompt], [answer]).item()
        for clip, prompt, answer in zip(CLIPS, PROMPTS, answers, strict=True)
    ]
    together = student.loss(student.renderer.collate(CLIPS), PROMPTS, answers).item()
    assert together == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_what_is_written_does_not_depend_on_the_batch(student):
    together = student.generate(student.renderer.collate(CLIPS), PROMPTS, max_new_tokens=6)
    alone = [
        student.generate(student.renderer.collate([clip]), [prompt], max_new_tokens=6)[0]
        for clip, prompt in zip(CLIPS, PROMPTS, strict=True)
    ]
    assert together == alone


def test_each_written_token_is_the_likeliest_after_the_ones_before(student):
    batch = student.renderer.collate(CLIPS[:1])
    inputs = student._inputs(student.renderer(batch), PROMPTS[:1])
    written = student.mllm.generate(**inputs, max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
    tail = written[0, inputs["input_ids"].shape[1] :].tolist()
    for end in range(5):
        again = student._inputs(student.renderer(batch), PROMPTS[:1], answers=[tail[:end]])
        logits = student.mllm(**again, logits_to_keep=1).logits
        assert int(logits[0, -1].argmax()) == tail[end]


def test_only_candidates_are_written_where_only_they_may_be(student):
    assert set(student.generate(student.renderer.collate(CLIPS), PROMPTS, candidates=FEW)) <= set(FEW)


def test_the_gradient_of_the_frames_is_that_of_finite_differences(student):
    double = copy.deepcopy(student).double()
    frames = smooth_frames(1, 3, 32, torch.float64).requires_grad_()
    loss = double._answer_loss(frames, ["which?"], ["wave"])
    (gradient,) = torch.autograd.grad(loss, frames)
    along = gradient / gradient.norm()
    step = 0.05
    with torch.no_grad():
        more, less = (double._answer_loss(frames + step * way * along, ["which?"], ["wave"]) for way in (1, -1))
    assert float((more - less) / (2 * step)) == pytest.approx(float(gradient.norm()), rel=0.02)


def test_one_step_of_lora_lowers_the_loss(student):
    trained = copy.deepcopy(student).train()
    trained.set_trainable(("language_adapter",))
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    batch = trained.renderer.collate(CLIPS)
    before = trained(batch, PROMPTS, ["wave", "bow"])
    before.backward()
    optimizer.step()
    with torch.no_grad():
        assert float(trained(batch, PROMPTS, ["wave", "bow"])) < before.item()


def test_lora_touches_the_language_part_alone_and_the_projector_is_all_of_it(student):
    parts = student.named_parts()
    lora = {name for name, _ in student.mllm.named_parameters() if "lora_" in name}
    assert set(parts["language_adapter"]) == lora
    assert len(lora) == 2 * 2 * 7  # two layers, seven linear maps, two factors each
    assert all(name.startswith(("model.language_model.", "model.text_model.")) for name in lora)
    tower = (".vision_tower.", ".visual.", ".vision_model.")
    seen = {
        name
        for name, _ in student.mllm.named_parameters()
        if any(word in name for word in tower) and "merger" not in name
    }
    between = {
        name
        for name, _ in student.mllm.named_parameters()
        if not name.startswith(("model.language_model.", "model.text_model.", "lm_head", "model.image_newline"))
    }
    assert set(parts["projector"]) == between - seen
    assert set(parts["projector"])


def test_a_checkpointed_model_has_the_same_gradient(student):
    frames = smooth_frames(2, 2, 32)
    gradients = []
    for checkpointing in (False, True):
        learner = copy.deepcopy(student).train()
        if checkpointing:
            learner.mllm.activation_checkpointing_enable({"use_reentrant": False})
        shown = frames.clone().requires_grad_()
        learner._answer_loss(shown, PROMPTS, ["wave", "bow"]).backward()
        gradients.append(shown.grad)
    assert float(gradients[0].abs().max()) > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_16_bits_sends_the_gradient_of_the_whole_one_to_a_renderer_of_32(family_folder, name):
    gradients = []
    for dtype in ("float32", "bfloat16"):
        learner = folder_student(family_folder(name), dtype=dtype).train()
        learner.set_trainable(PARTS)
        learner(learner.renderer.collate(CLIPS), PROMPTS, ["wave", "bow"]).backward()
        learnt = {weight.dtype for part in learner.named_parts().values() for weight in part.values()}
        assert learnt == {torch.float32}
        assert all(weight.grad is not None for weight in learner.named_parts()["projector"].values())
        assert learner.rank(learner.renderer.collate(CLIPS), PROMPTS, FEW).dtype == torch.float32
        gradients.append(torch.cat([w.grad.flatten() for w in learner.renderer.parameters() if w.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_an_answer_ends_with_what_the_chat_template_sets_after_it(student):
    end = student.tokenizer.convert_ids_to_tokens(student.chat.end_id)
    assert end in ("<|im_end|>", "<end_of_utterance>", "<end_of_turn>")
    assert student.chat.end_id in student._end_ids()
    assert student.tokenizer.eos_token_id in student._end_ids()


def test_a_calibrated_score_is_the_gain_over_frames_that_show_nothing(student):
    batch = student.renderer.collate(CLIPS)
    gained = student.rank(batch, PROMPTS, FEW, calibrated=True)
    nothing = torch.zeros_like(student.renderer(batch))
    expected = torch.tensor(
        [[-student._answer_loss(nothing[:1], [prompt], [candidate]).item() for candidate in FEW] for prompt in PROMPTS]
    )
    torch.testing.assert_close(gained, student.rank(batch, PROMPTS, FEW) - expected, rtol=0, atol=1e-5)


def test_more_frames_than_the_context_holds_are_one_clear_error(student):
    room = student.mllm.config.get_text_config()
    held, room.max_position_embeddings = room.max_position_embeddings, 20
    batch = student.renderer.collate(CLIPS[:1])
    try:
        with pytest.raises(ConfigError, match=r"2 frames, question and answer are \d+ tokens, the model holds 20; set"):
            student.rank(batch, PROMPTS[:1], FEW)
    finally:
        room.max_position_embeddings = held


def test_a_question_that_holds_the_mark_of_a_clip_is_one_clear_error(student):
    with pytest.raises(DataError, match="which stands for a clip; leave it out"):
        student.generate(student.renderer.collate(CLIPS[:1]), [f"what is {student.bridge.marker}?"])


def test_a_template_without_a_place_for_a_clip_is_one_clear_error(student):
    other = copy.copy(student.tokenizer)
    other.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    with pytest.raises(ConfigError, match="chat template leaves 0 marks"):
        type(student.chat)(other, student.bridge).prompt_ids("which?", 2, 32, 32)


@pytest.mark.parametrize("family", QWEN, indirect=True)
def test_qwen_s_tokens_have_places_in_time_height_and_width(family):
    inputs = family._inputs(smooth_frames(2, 4, 32), PROMPTS)
    time, row, column = inputs["position_ids"][:, 1]
    shown = inputs["mm_token_type_ids"][1] == 2
    assert int(shown.sum()) == 2 * 4
    assert not torch.equal(time[shown], row[shown])
    assert torch.equal(time[~shown], column[~shown])
    assert int(inputs["position_ids"][:, 0, 0].sum()) == 0


@pytest.mark.parametrize("family", QWEN, indirect=True)
def test_qwen_does_not_take_the_places_of_an_earlier_prompt(family):
    first, both = family.renderer.collate(CLIPS[1:]), family.renderer.collate(CLIPS)
    fresh = family.rank(first, PROMPTS[1:], FEW)
    family.generate(both, ["which one of all these many actions is it?", "?"], max_new_tokens=3)
    family.mllm.model.rope_deltas = torch.tensor([[7], [9]])
    assert torch.equal(family.rank(first, PROMPTS[1:], FEW), fresh)


@pytest.mark.parametrize("family", QWEN, indirect=True)
def test_an_odd_last_frame_of_qwen_is_shown_twice_and_has_its_gradient(family):
    frames = smooth_frames(1, 3, 32)
    twice = torch.cat((frames, frames[:, -1:]), 1)
    packed, whole = family.bridge.pack(frames), family.bridge.pack(twice)
    assert torch.equal(packed["pixel_values_videos"], whole["pixel_values_videos"])
    assert packed["video_grid_thw"].tolist() == [[2, 4, 4]]
    assert family.bridge.pack(frames[:, :1])["video_grid_thw"][0, 0] == 1


@pytest.mark.parametrize("family", ["gemma3"], indirect=True)
def test_a_picture_of_gemma_sees_itself_in_both_directions(family):
    inputs = family._inputs(smooth_frames(1, 2, 32), PROMPTS[:1])
    told = family.mllm(**inputs).logits
    inputs.pop("token_type_ids")
    assert not torch.allclose(told, family.mllm(**inputs).logits, atol=1e-3)


@pytest.mark.parametrize("family", ["gemma3"], indirect=True)
def test_the_prompts_here_are_longer_than_gemma_s_window(family):
    prompt = family.chat.prompt_ids("which?", 2, 32, 32)
    assert len(prompt) > 2 * family.mllm.config.text_config.sliding_window


@pytest.mark.parametrize("family", ["smolvlm"], indirect=True)
@pytest.mark.parametrize("guarded", [True, False])
def test_a_frame_that_is_grey_all_over_is_not_dropped_by_smolvlm(family, guarded):
    frames = smooth_frames(1, 2, 32)
    frames[:, 1] = 0.5
    inputs = family._inputs(frames, PROMPTS[:1])
    if not guarded:
        inputs["pixel_values"] = (frames - 0.5) / 0.5
    with nullcontext() if guarded else pytest.raises(ValueError, match="do not match"):
        assert family.mllm(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("family", ["internvl3"], indirect=True)
def test_no_weight_of_a_renderer_is_a_single_number_which_deepspeed_cannot_cut(family):
    assert all(weight.ndim > 0 for weight in family.renderer.parameters())


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_stage_on_all_parts_moves_no_weight_of_the_vision_tower(family_folder, name, kind):
    learner = folder_student(family_folder(name), AdapterConfig(kind=kind, rank=2))
    learner.set_trainable(PARTS)
    moving = [name for name, weight in learner.mllm.named_parameters() if weight.requires_grad]
    tower = (".vision_tower.", ".visual.blocks.", ".visual.patch_embed.", ".vision_model.")
    assert moving
    assert not [name for name in moving if any(word in name for word in tower)]
