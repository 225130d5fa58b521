import pytest
import torch

from pipelines.estimate import memory_of, model_of, parameters_of, tokens_of
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.train.config import EngineConfig, RunConfig, StageConfig
from tests.families import write_family
from tests.makers import make_clip
from tests.students import LORA, SMALL, folder_student, tiny_student, write_internvl

EVERYTHING = ("renderer", "projector", "language_adapter")
STAGE = StageConfig("warmup", EVERYTHING, ("mqa",), batch_size=4)
NOWHERE = DatasetRef("clips", "", "")
QUESTION = [("which of these is it: bow, sit down, wave?", "wave")]


def run_of(student, **engine):
    return RunConfig(STAGE, student, EngineConfig(**engine), NOWHERE, NOWHERE, None, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_internvl(tmp_path_factory.mktemp("internvl"))


def test_a_model_of_which_only_the_configuration_is_there_is_counted_as_the_real_one(folder, tmp_path):
    real = folder_student(folder, dtype="bfloat16")
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    counted = model_of(StudentConfig(BackboneConfig(name=str(tmp_path), dtype="bfloat16"), LORA, SMALL), [])
    assert not isinstance(counted, str)
    assert parameters_of(counted) == parameters_of(real)
    assert sum(parameters_of(real).values()) == sum(weight.numel() for weight in real.parameters())
    assert {weight.device.type for weight in counted.mllm.parameters()} == {"meta"}
    types = [weight.dtype for weight in real.parameters()]
    assert [weight.dtype for weight in counted.parameters()] == types
    assert tokens_of(counted, {"mqa": QUESTION}) == tokens_of(real, {"mqa": QUESTION})


def test_a_model_that_is_not_here_is_not_guessed_and_nothing_is_fetched():
    told = model_of(StudentConfig(BackboneConfig(name="nobody/nothing"), AdapterConfig(), SMALL), [])
    assert isinstance(told, str)
    assert "nobody/nothing is not on this machine" in told


def test_tokens_are_those_of_a_prompt_with_its_clip_and_of_an_answer():
    student = tiny_student()
    ((clip, prompt, answer),) = tokens_of(student, {"mqa": QUESTION, "chain": []}).values()
    assert clip + prompt == student.num_prompt_tokens(QUESTION[0][0], SMALL.num_frames)
    assert answer == len(student.chat.answer_ids(["wave"])[0])


def test_weights_gradients_and_optimiser_state_are_shared_as_zero_says():
    student = tiny_student()
    config, weights = student.config, sum(parameters_of(student).values())
    trained = sum(parameters_of(student)[part] for part in EVERYTHING)
    drawn = parameters_of(student)["renderer"]

    def memory(**engine):
        return memory_of(student, run_of(config, **engine), (20, 2))

    plain = memory(kind="plain")
    assert (plain.weights, plain.gradients, plain.optimizer) == (4 * weights, 4 * trained, 8 * trained)
    for zero_stage, shares in enumerate(((1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2))):
        found = memory(zero_stage=zero_stage, num_workers=2)
        states = 12 if zero_stage else 8
        alone = drawn if zero_stage == 3 else 0  # ZeRO 3 leaves the renderer whole; what else is whole is rounded
        assert found.weights == pytest.approx(4 * ((weights - alone) / shares[0] + alone), rel=1e-3)
        assert found.gradients == pytest.approx(4 * trained / shares[1], rel=1e-3)
        assert found.optimizer == pytest.approx(states * trained / shares[2], rel=1e-3)
    offloaded = memory(zero_stage=1, offload="optimizer")
    assert offloaded.on_cpu == offloaded.optimizer
    assert offloaded.total == offloaded.weights + offloaded.gradients + offloaded.activations


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_the_optimiser_state_is_what_deepspeed_holds_after_a_step(zero_stage):
    from skeletonllm.train.engine import make_engine, parameter_groups

    student = tiny_student()
    student.set_trainable(EVERYTHING)
    run = run_of(student.config, zero_stage=zero_stage)
    expected = memory_of(student, run, (20, 2)).optimizer
    engine = make_engine(student, parameter_groups(student.named_parts(), STAGE), run.engine, 4)
    clips = student.renderer.collate([make_clip(f"c{seed}", seed=seed) for seed in range(4)])
    engine.backward(engine.loss(clips, [QUESTION[0][0]] * 4, ["wave"] * 4))
    engine.step(dict.fromkeys(EVERYTHING, 1e-3))
    optimizer = engine._engine.optimizer
    tensors = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim]
    tensors += getattr(optimizer, "single_partition_of_fp32_groups", [])
    assert sum(t.numel() * t.element_size() for t in tensors) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("recomputes", [False, True])
def test_the_formula_for_activations_is_near_what_autograd_keeps(folder, recomputes):
    student = folder_student(folder, gradient_checkpointing=recomputes)
    student.set_trainable(EVERYTHING)
    student.train()
    clips = student.renderer.collate([make_clip(f"c{seed}", seed=seed) for seed in range(4)])
    frames, kept = student.renderer(clips), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = student._answer_loss(frames, [QUESTION[0][0]] * 4, ["wave"] * 4)
    weights = {weight.untyped_storage().data_ptr() for weight in student.parameters()}
    measured = sum(size for place, (size, _) in kept.items() if place not in weights)
    clip, prompt, answer = tokens_of(student, {"mqa": QUESTION})["mqa"]
    asked = (clip + prompt + answer, answer)
    told = memory_of(student, run_of(student.config), asked).activations
    assert loss.isfinite()
    assert told is not None
    if recomputes:  # what is kept, and one layer that is computed again
        plain = folder_student(folder)
        assert measured < told < memory_of(plain, run_of(plain.config), asked).activations
    else:
        assert measured < told < 2 * measured


def test_a_family_that_names_its_sizes_otherwise_leaves_the_memory_unknown(tmp_path):
    student = folder_student(write_family("qwen2_5_vl", tmp_path))
    found = memory_of(student, run_of(student.config), (20, 2))
    assert found.activations is None
    assert found.total is None
