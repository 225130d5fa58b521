from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from skeletonllm.model.config import AdapterConfig
from skeletonllm.model.student import PARTS, SkeletonLLM
from skeletonllm.recipes import quickstart
from skeletonllm.render.legibility import illegibility
from tests.makers import make_clip
from tests.students import ACTIONS, SMALL, tiny_student

CLIPS = [make_clip("a"), make_clip("b", topology="coco_17", seed=1), make_clip("c", num_persons=2, seed=2)]
PROMPTS = ["which?", "which one of all is it?", "is it this?"]


@pytest.fixture(scope="module")
def student():
    return tiny_student().eval()


def in_double(batch):
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: v.double() for name, v in values.items() if v.is_floating_point()})


def test_the_loss_reaches_the_renderer_with_the_gradient_of_finite_differences():
    student = tiny_student(render=replace(SMALL, backend="reference")).double()
    batch = in_double(student.renderer.collate(CLIPS[2:]))
    weights = list(student.renderer.parameters())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # the last layer starts at 0, which would hide the ones before it
        for weight in weights:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    gradients = torch.autograd.grad(student(batch, ["which?"], ["wave"]), weights)
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)

    def loss_at(step: float, direction: Sequence[torch.Tensor]) -> float:
        with torch.no_grad():
            for weight, along in zip(weights, direction, strict=True):
                weight.add_(step * along)
            found = float(student(batch, ["which?"], ["wave"]))
            for weight, along in zip(weights, direction, strict=True):
                weight.sub_(step * along)
        return found

    norm = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5

    def error(step: float) -> float:
        direction = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        return abs((loss_at(step, direction) - loss_at(-step, direction)) / (2 * step) - slope) / norm

    # The norms of transformers run in float32, so steps cannot be tiny; now and then one crosses the cut of a faint alpha.
    assert np.median([error(3e-5) for _ in range(9)]) < 0.02


def test_a_batch_has_the_mean_of_the_losses_of_its_examples(student):
    answers = ["wave", "sit down", "bow"]
    together = student.loss(student.renderer.collate(CLIPS), PROMPTS, answers)
    alone = [
        student.loss(student.renderer.collate([clip]), [prompt], [answer]).item()
        for clip, prompt, answer in zip(CLIPS, PROMPTS, answers, strict=True)
    ]
    assert together.item() == pytest.approx(sum(alone) / 3, rel=1e-4)
    weights = torch.tensor([1.0, 0.0, 0.0])
    weighted = student.loss(student.renderer.collate(CLIPS), PROMPTS, answers, weights)
    assert weighted.item() == pytest.approx(alone[0], rel=1e-4)


def test_the_shared_ranking_is_that_of_one_forward_per_candidate(student):
    batch = student.renderer.collate(CLIPS)
    scores = student.rank(batch, PROMPTS, ACTIONS)
    for row, (clip, prompt) in enumerate(zip(CLIPS, PROMPTS, strict=True)):
        for column, action in enumerate(ACTIONS):
            loss = student.loss(student.renderer.collate([clip]), [prompt], [action])
            assert float(scores[row, column]) == pytest.approx(-loss.item(), abs=1e-4)


def test_what_is_written_does_not_depend_on_the_batch(student):
    together = student.generate(student.renderer.collate(CLIPS), PROMPTS, max_new_tokens=5)
    alone = [
        student.generate(student.renderer.collate([clip]), [prompt], max_new_tokens=5)[0]
        for clip, prompt in zip(CLIPS, PROMPTS, strict=True)
    ]
    assert together == alone


@pytest.mark.parametrize("parts", [("renderer",), ("renderer", "projector"), PARTS])
def test_a_stage_moves_the_weights_of_its_parts_and_no_other(parts):
    student = tiny_student()
    student.set_trainable(parts)
    wanted = {id(weight) for part in parts for weight in student.named_parts()[part].values()}
    moving = {id(weight) for weight in student.parameters() if weight.requires_grad}
    assert moving == wanted


def test_lora_touches_no_weight_of_the_vision_tower_and_starts_as_the_same_model():
    config = AdapterConfig(kind="lora", rank=2, alpha=4)
    plain, adapted = tiny_student(), tiny_student(adapter=config)
    names = adapted.named_parts()["language_adapter"]
    assert names
    assert all("lora_" in name and "language_model" in name for name in names)
    batch = plain.renderer.collate(CLIPS)
    assert torch.allclose(plain.rank(batch, PROMPTS, ACTIONS), adapted.rank(batch, PROMPTS, ACTIONS), atol=1e-5)


def test_the_embedded_model_is_small_and_the_same_from_the_same_seed():
    config = quickstart().student
    one, two = (SkeletonLLM.build(config, corpus=ACTIONS, seed=3) for _ in range(2))
    assert sum(weight.numel() for weight in one.parameters()) < 5_000_000
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("adapter", [AdapterConfig(kind="full"), AdapterConfig(kind="lora", rank=2)])
def test_a_saved_student_comes_back_with_the_same_answers(tmp_path, adapter):
    student = tiny_student(adapter=adapter)
    with torch.no_grad():
        for weights in student.named_parts().values():
            for weight in weights.values():
                weight.add_(0.01)
    student.save_pretrained(tmp_path / "student")
    loaded = SkeletonLLM.from_pretrained(tmp_path / "student")
    batch = student.renderer.collate(CLIPS)
    assert torch.equal(student.rank(batch, PROMPTS, ACTIONS), loaded.rank(batch, PROMPTS, ACTIONS))


def test_the_penalty_on_illegible_frames_is_added_only_where_it_has_a_weight():
    plain, with_weight = (tiny_student(render=replace(SMALL, legibility=weight)) for weight in (0.0, 0.5))
    batch = plain.renderer.collate(CLIPS)
    loss, more = (student.loss(batch, PROMPTS, ["wave"] * 3).detach() for student in (plain, with_weight))
    torch.testing.assert_close(more - loss, 0.5 * illegibility(plain.renderer(batch)).detach())
