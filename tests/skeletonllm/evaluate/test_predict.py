import pytest
import torch

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.predict import caption, explain, predict
from skeletonllm.reasoning.prompts import caption_prompt, chain_prompt, mqa_prompt
from skeletonllm.skeleton.clip import Source
from tests.makers import make_clip

ACTIONS = ("bow", "sit down", "wave")


class FirstFrame:
    """A renderer that sees each clip's height in its first frame."""

    def collate(self, clips, generator=None):
        return torch.tensor([float(clip.positions[0, 0, 0, 1]) for clip in clips])


class Ruler:
    """A student that answers by height alone, and keeps what it was asked."""

    def __init__(self):
        self.renderer, self.asked = FirstFrame(), []

    def rank(self, batch, prompts, candidates):
        self.asked += prompts
        assert torch.is_inference_mode_enabled()
        return -((batch[:, None] - torch.arange(len(candidates))) ** 2)

    def generate(self, batch, prompts, max_new_tokens=64):
        self.asked += prompts
        return [f"height {height:.0f}" for height in batch.tolist()]


def clip_of_height(height, clip_id, **changes):
    clip = make_clip(clip_id, **changes)
    positions = clip.positions.copy()
    positions[0, 0, 0, 1] = height
    return make_clip(clip_id, positions=positions, **changes)


def test_the_likeliest_candidate_is_the_answer_and_answers_are_sorted_by_clip():
    source = Source(format="ntu", subject="P002", camera="3")
    clips = [clip_of_height(2, "b", source=source), clip_of_height(0, "a"), clip_of_height(1, "c")]
    answers = predict(Ruler(), iter(clips), ACTIONS, batch_size=2)
    assert [(answer.clip_id, answer.predicted) for answer in answers] == [
        ("a", "bow"),
        ("b", "wave"),
        ("c", "sit down"),
    ]
    assert (answers[1].format, answers[1].subject, answers[1].camera) == ("ntu", "P002", "3")
    assert answers[1].scores == (-4.0, -1.0, 0.0)


def test_the_size_of_the_batches_changes_nothing():
    clips = [clip_of_height(number % 3, f"c{number}") for number in range(7)]
    assert predict(Ruler(), clips, ACTIONS, batch_size=1) == predict(Ruler(), clips, ACTIONS, batch_size=32)


def test_the_question_names_the_candidates_and_not_the_answer():
    student = Ruler()
    predict(student, [make_clip(action="a secret")], ACTIONS)
    assert student.asked == [mqa_prompt(ACTIONS)]


def test_progress_counts_to_the_end():
    told = []
    predict(Ruler(), [make_clip(f"c{n}") for n in range(5)], ACTIONS, 2, lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_no_clips_give_no_answers():
    assert predict(Ruler(), [], ACTIONS) == []


def test_words_come_in_the_order_of_the_clips():
    student = Ruler()
    clips = [clip_of_height(2, "z"), clip_of_height(1, "a")]
    assert caption(student, clips) == ["height 2", "height 1"]
    assert explain(student, clips, batch_size=1) == ["height 2", "height 1"]
    assert student.asked == [caption_prompt()] * 2 + [chain_prompt()] * 2


@pytest.mark.parametrize("actions", [(), ("bow", "bow")])
def test_candidates_must_be_there_and_differ(actions):
    with pytest.raises(ConfigError, match="candidates"):
        predict(Ruler(), [make_clip()], actions)


def test_a_batch_holds_at_least_one_clip():
    with pytest.raises(ConfigError, match="batch_size is 0"):
        predict(Ruler(), [make_clip()], ACTIONS, batch_size=0)


def test_a_score_that_is_no_number_is_an_error_and_no_answer():
    with pytest.raises(DataError, match="clip tall"):
        predict(Ruler(), [clip_of_height(0, "short"), clip_of_height(3e38, "tall")], ACTIONS)
