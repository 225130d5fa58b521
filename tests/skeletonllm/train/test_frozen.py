"""What is frozen in each stage of each recipe, counted; and that a step moves the rest and nothing else."""

from collections import Counter

import pytest
import torch

from skeletonllm.recipes import RECIPES, get_recipe
from skeletonllm.train.config import EngineConfig
from skeletonllm.train.engine import make_engine, parameter_groups
from tests.makers import make_clip
from tests.students import ACTIONS, folder_student, tiny_student, write_internvl

PARTS = ("renderer", "projector", "language_adapter")
STAGES = ("render_warmup", "disc_ft", "cr_distill", "recognition")


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return folder_student(write_internvl(tmp_path_factory.mktemp("internvl")))


@pytest.fixture(scope="module")
def full():
    return tiny_student()


def place_of(name: str) -> str:
    """Where in the student a weight is, by its name alone."""
    marks = {
        "renderer.": "renderer",
        ".vision_tower.": "tower",
        ".multi_modal_projector.": "projector",
        ".lora_": "lora",
        ".language_model.": "language",
        ".lm_head.": "language",
    }
    return next(place for mark, place in marks.items() if mark in name)


def moving(student) -> dict[str, int]:
    """Weights that a step may move, by the place where they are."""
    found = Counter()
    for name, weight in student.named_parameters():
        if weight.requires_grad:
            found[place_of(name)] += weight.numel()
    return dict(found)


def sizes(student) -> dict[str, tuple[str, int]]:
    """Where the weights of each part are, and how many there must be."""
    model, config = student.mllm.model, student.config.adapter
    # In two layers, into and out of q, k, v, o, gate, up and down: 32 wide, 16 the keys and values, 64 inside the MLP.
    lora = 2 * config.rank * (64 + 48 + 48 + 64 + 96 + 96 + 96)
    whole = {
        "renderer": student.renderer,
        "projector": model.multi_modal_projector,
        "language": model.language_model,  # its table of words is its last layer too
    }
    counted = {place: sum(weight.numel() for weight in module.parameters()) for place, module in whole.items()}
    return {
        "renderer": ("renderer", counted["renderer"]),
        "projector": ("projector", counted["projector"]),
        "language_adapter": ("lora", lora) if config.kind == "lora" else ("language", counted["language"]),
    }


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_weights_that_may_move_are_those_of_the_parts_that_the_stage_names(request, recipe, name):
    config = get_recipe(recipe)
    student = request.getfixturevalue(config.student.adapter.kind)
    stage = config.stage(name)
    student.set_trainable(stage.trains)
    expected = dict(sizes(student)[part] for part in stage.trains)
    assert all(expected.values())
    assert moving(student) == expected
    groups = parameter_groups(student.named_parts(), stage)
    assert sum(weight.numel() for group in groups for weight in group["params"]) == sum(expected.values())


@pytest.mark.parametrize(
    ("name", "trains"),
    [
        ("render_warmup", {"renderer", "projector"}),
        ("disc_ft", {"renderer", "projector"}),
        ("cr_distill", set(PARTS)),
        ("recognition", {"projector", "language_adapter"}),
    ],
)
def test_a_step_of_the_papers_stages_moves_each_of_their_parts_and_leaves_every_other_weight_as_it_was(
    lora, name, trains
):
    stage = get_recipe("internvl3-8b").stage(name)
    assert set(stage.trains) == trains
    lora.set_trainable(stage.trains)
    before = {weight_name: weight.detach().clone() for weight_name, weight in lora.named_parameters()}
    engine = make_engine(lora, parameter_groups(lora.named_parts(), stage), EngineConfig(kind="plain"), 2)
    clips = [make_clip(f"c{seed}", seed=seed) for seed in range(2)]
    for _ in range(2):  # LoRA's second matrix begins at zero, so its first has no gradient at first
        loss = engine.loss(lora.renderer.collate(clips), ["which?"] * 2, list(ACTIONS[:2]))
        engine.backward(loss)
        engine.step({"renderer": 1e-2, "projector": 1e-2, "language_adapter": 1e-2})
    moved = {place_of(key) for key, w in lora.named_parameters() if not torch.equal(w, before[key])}
    assert moved == {"lora" if part == "language_adapter" else part for part in trains}
