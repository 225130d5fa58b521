from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.saliency import explain_answer
from skeletonllm.evaluate.saliency.explain import Deletion, answer_gradient, answer_score, rank_correlation
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.render.batch import batch_of_places
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import waving
from tests.students import ACTIONS, SMALL, tiny_student


def awake(**changes):
    """A student whose language part already tells answers apart."""
    student = tiny_student(render=replace(SMALL, num_frames=3, gaussians_per_bone=3, **changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in student.named_parts().values():
            for weight in weights.values():
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return student


@pytest.fixture(scope="module")
def student():
    return awake()


def test_the_gradient_is_that_of_finite_differences(student) -> None:
    clip = student.renderer.prepare(waving())
    prompt = mqa_prompt(ACTIONS)
    gradient = answer_gradient(student, clip, prompt, *ACTIONS[:2])
    rng = np.random.default_rng(0)
    places = torch.from_numpy(clip.positions)

    def score(step: float, direction: torch.Tensor) -> float:
        with torch.no_grad():
            batch = batch_of_places(clip, student.renderer.config, places + step * direction)
            return float(answer_score(student, batch, prompt, *ACTIONS[:2]))

    norm, errors = float(np.linalg.norm(gradient)), []
    for _ in range(9):
        # A smooth movement of all joints, along the gradient for a good part, so that rounding does not decide.
        direction = torch.from_numpy(gradient / norm + 0.3 * rng.normal(size=gradient.shape) / gradient.size**0.5)
        direction = direction.float()
        slope = float((torch.from_numpy(gradient) * direction).sum())
        step = 3e-3
        errors.append(abs((score(step, direction) - score(-step, direction)) / (2 * step) - slope) / norm)
    # A step may cross the cut of a faint alpha, or change which Gaussian lies in front; most do not.
    assert np.median(errors) < 0.05


def test_the_gradient_to_a_single_joint_is_exact_in_double_precision(monkeypatch) -> None:
    # The norm of the language model rounds to float32, which would drown a small step.
    monkeypatch.setattr(Qwen2RMSNorm, "forward", _norm_of_any_precision)
    student = awake(backend="reference").double()
    clip, prompt = student.renderer.prepare(waving()), mqa_prompt(ACTIONS)

    def score(places: torch.Tensor) -> torch.Tensor:
        batch = batch_of_places(clip, student.renderer.config, places)
        wide = {name: value.double() for name, value in vars(batch).items() if value.is_floating_point()}
        return answer_score(student, replace(batch, **wide), prompt, *ACTIONS[:2])

    places = torch.from_numpy(clip.positions).double().requires_grad_()
    (gradient,) = torch.autograd.grad(score(places), places)
    strongest = gradient.abs().flatten().argsort(descending=True)[:100:10]
    errors = []
    for place in strongest.tolist():
        step = torch.zeros(places.numel(), dtype=torch.float64)
        step[place] = 1e-6
        with torch.no_grad():
            difference = score(places + step.view_as(places)) - score(places - step.view_as(places))
        slope = float(gradient.flatten()[place])
        errors.append(abs(float(difference) / 2e-6 - slope) / abs(slope))
    # A step that crosses a cut of the picture proves nothing; hardly any is so unlucky.
    assert np.median(errors) < 1e-6


def _norm_of_any_precision(self: Qwen2RMSNorm, hidden_states: torch.Tensor) -> torch.Tensor:
    variance = hidden_states.square().mean(-1, keepdim=True)
    return self.weight * hidden_states * torch.rsqrt(variance + self.variance_epsilon)


def test_an_explanation_is_about_the_student_s_own_answer_and_its_runner_up(student) -> None:
    clip = waving()
    found = explain_answer(student, clip, ACTIONS, random_orders=3)
    names = list(found.shares)
    assert (found.answer, found.against) == (names[0], names[1])
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-5)
    assert found.gradient.shape == (1, clip.num_frames, clip.topology.num_joints, 3)
    assert found.saliency.shape == (1, 3, clip.topology.num_joints)
    assert (found.saliency >= 0).all()
    assert found.saliency.any()
    assert found.of_times().shape == clip.positions.shape[:3]
    assert set(found.randomised) == {"renderer", "projector", "language_adapter", "all"}
    other = explain_answer(student, clip, ACTIONS, answer=found.against, against=found.answer, random_orders=1)
    np.testing.assert_allclose(other.gradient, -found.gradient, rtol=1e-4, atol=1e-6)


def test_weights_are_put_back_after_they_were_shuffled(student) -> None:
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    explain_answer(student, waving(), ACTIONS, random_orders=1)
    assert all(torch.equal(weight, before[name]) for name, weight in student.named_parameters())


def test_hiding_follows_saliency_and_ends_with_nobody(student) -> None:
    found = explain_answer(student, waving(), ACTIONS, random_orders=2)
    assert found.deletion.hidden[0] == 0
    assert found.deletion.hidden[-1] == waving().topology.num_joints
    curves = [found.deletion.ordered, *found.deletion.random]
    # Nothing hidden, and all hidden, are the same in every order.
    for end in (0, -1):
        assert max(curve[end] for curve in curves) == pytest.approx(min(curve[end] for curve in curves), abs=1e-6)
    assert found.deletion.ordered[0] == pytest.approx(found.shares[found.answer], abs=1e-5)


def test_a_joint_that_was_never_seen_does_not_matter(student) -> None:
    clip = waving()
    hand = clip.topology.joint_names.index("left_foot") if "left_foot" in clip.topology.joint_names else 5
    confidence, positions = clip.confidence.copy(), clip.positions.copy()
    confidence[:, :, hand], positions[:, :, hand] = 0, 0
    found = explain_answer(student, replace(clip, confidence=confidence, positions=positions), ACTIONS, random_orders=1)
    assert not found.saliency[:, :, hand].any()
    assert not found.seen[:, :, hand].any()
    assert found.seen.any(1).sum() == found.deletion.hidden[-1] == clip.topology.num_joints - 1


def test_joints_that_nobody_ever_saw_change_neither_of_the_two_tests(student) -> None:
    clip = replace(waving(), rotations=None)
    padded = replace(
        clip,
        topology=replace(
            clip.topology,
            name="padded",
            joint_names=(*clip.topology.joint_names, *(f"extra_{number}" for number in range(12))),
            parents=(*clip.topology.parents, *[0] * 12),
            parts=(*clip.topology.parts, *["face"] * 12),
        ),
        positions=np.pad(clip.positions, ((0, 0), (0, 0), (0, 12), (0, 0))),
        confidence=np.pad(clip.confidence, ((0, 0), (0, 0), (0, 12))),
    )
    one, other = (explain_answer(student, some, ACTIONS, random_orders=2) for some in (clip, padded))
    assert other.deletion.hidden == one.deletion.hidden
    np.testing.assert_allclose(other.deletion.ordered, one.deletion.ordered, atol=1e-6)
    for part, each in one.randomised.items():
        np.testing.assert_allclose(other.randomised[part], each, atol=1e-4)


def test_the_gain_is_the_area_between_the_curves_and_lies_in_its_interval() -> None:
    found = Deletion((0, 1, 2), (0.8, 0.1, 0.0), ((0.8, 0.8, 0.0), (0.8, 0.5, 0.0), (0.8, 0.2, 0.0)))
    gain, low, high = found.gain
    assert gain == pytest.approx(0.4 / 3)
    # No resampled mean leaves the range of the gains, 0.1 / 3 to 0.7 / 3.
    assert 0.033 < low < gain < high < 0.234
    same = Deletion((0, 1), (0.5, 0.0), ((0.5, 0.0),))
    assert same.gain == (0, 0, 0)


def test_two_persons_and_flat_clips_can_be_explained(student) -> None:
    for clip in (make_clip(num_persons=2), make_clip(topology="coco_17")):
        found = explain_answer(student, clip, ACTIONS, random_orders=1)
        assert found.saliency.shape[0] == clip.num_persons
        assert np.isfinite(found.gradient).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answer": "waves"}, r"no candidate 'waves'; did you mean 'wave'"),
        ({"against": "xyz"}, r"no candidate 'xyz'"),
        ({"answer": "wave", "against": "wave"}, r"'wave' is explained against itself"),
        ({"random_orders": 0}, r"random_orders is 0"),
    ],
)
def test_what_cannot_be_explained_is_named_with_what_comes_near(student, changes, says) -> None:
    with pytest.raises(ConfigError, match=says):
        explain_answer(student, waving(), ACTIONS, **changes)


def test_a_clip_without_joints_and_a_renderer_without_places_are_refused(student) -> None:
    clip = make_clip("empty")
    hidden = replace(clip, confidence=0 * clip.confidence, positions=0 * clip.positions)
    with pytest.raises(DataError, match="clip empty: no joint is seen"):
        explain_answer(student, hidden, ACTIONS)
    with pytest.raises(ConfigError, match="renderer 'jtm'"):
        explain_answer(tiny_student(render=replace(SMALL, renderer="jtm")).eval(), waving(), ACTIONS)


def test_rank_correlation_knows_same_opposite_and_nothing() -> None:
    values = np.array([0.1, 5.0, 2.0, 3.0])
    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(4)) == 0
    # Equal values share a rank: scipy.stats.spearmanr([1, 2, 2, 3], [1, 2, 3, 4]) is 0.9486833.
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9486833)
