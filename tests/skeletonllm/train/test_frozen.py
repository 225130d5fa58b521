"""What is frozen in each stage of each recipe, counted; and that a step moves the rest and nothing else."""

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


def moving(student) -> dict[str, int]:
    """Weights that a step may move, by part; and those of no part."""
    parts = student.named_parts()
    of_parts = {part: sum(w.numel() for w in parts[part].values() if w.requires_grad) for part in PARTS}
    everywhere = sum(w.numel() for w in student.parameters() if w.requires_grad)
    return {**of_parts, "frozen": everywhere - sum(of_parts.values())}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_weights_that_may_move_are_those_of_the_parts_that_the_stage_names(request, recipe, name):
    config = get_recipe(recipe)
    student = request.getfixturevalue("lora" if config.student.adapter.kind == "lora" else "full")
    stage = config.stage(name)
    student.set_trainable(stage.trains)
    sizes = {part: sum(w.numel() for w in some.values()) for part, some in student.named_parts().items()}
    assert moving(student) == {**{part: sizes[part] if part in stage.trains else 0 for part in PARTS}, "frozen": 0}
    in_optimizer = sum(w.numel() for group in parameter_groups(student.named_parts(), stage) for w in group["params"])
    assert in_optimizer == sum(sizes[part] for part in stage.trains)


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
    parts = lora.named_parts()
    owner = {id(weight): part for part in PARTS for weight in parts[part].values()}
    before = {weight_name: weight.detach().clone() for weight_name, weight in lora.named_parameters()}
    engine = make_engine(lora, parameter_groups(parts, stage), EngineConfig(kind="plain"), 2)
    clips = [make_clip(f"c{seed}", seed=seed) for seed in range(2)]
    for _ in range(2):  # LoRA's second matrix begins at zero, so its first has no gradient at first
        loss = engine.loss(lora.renderer.collate(clips), ["which?"] * 2, list(ACTIONS[:2]))
        engine.backward(loss)
        engine.step({"renderer": 1e-2, "projector": 1e-2, "language_adapter": 1e-2})
    moved = {owner.get(id(w), "frozen") for key, w in lora.named_parameters() if not torch.equal(w, before[key])}
    assert moved == trains
