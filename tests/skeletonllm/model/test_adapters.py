import pytest
import torch

from skeletonllm.model.student import PARTS
from tests.families import FAMILIES, smooth_frames
from tests.students import folder_student


@pytest.mark.parametrize("name", FAMILIES)
def test_small_steps_are_not_rounded_away_in_a_model_of_16_bits(family_folder, name):
    student = folder_student(family_folder(name), dtype="bfloat16").train()
    student.set_trainable(PARTS)
    assert {weight.dtype for weight in student.mllm.parameters()} == {torch.float32, torch.bfloat16}
    weights = student.named_parts()["projector"]
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-5, weight_decay=0.0)
    student._answer_loss(smooth_frames(1, 2, 32), ["which?"], ["wave"]).backward()
    optimizer.step()
    for name, weight in weights.items():
        learnt = weight.grad != 0
        assert learnt.any()
        assert (weight != before[name])[learnt].float().mean() > 0.9


def test_the_projector_of_qwen3_reaches_every_layer_that_its_pictures_enter(family_folder):
    projector = folder_student(family_folder("qwen3_vl")).named_parts()["projector"]
    assert any(".deepstack_merger_list.0." in name for name in projector)
    assert any(".visual.merger." in name for name in projector)


def test_the_projector_of_gemma3_holds_its_bare_weight(family_folder):
    projector = folder_student(family_folder("gemma3")).named_parts()["projector"]
    assert any(name.endswith("multi_modal_projector.mm_input_projection_weight") for name in projector)
