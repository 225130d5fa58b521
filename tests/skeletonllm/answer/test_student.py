from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.answer import student as answer
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.model.about import About
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.skeleton.formats import plain_numpy
from tests.makers import performed_clips
from tests.students import ACTIONS, tiny_student

CLIPS = performed_clips(("bow", "kick", "wave"))


@pytest.fixture(scope="module")
def student():
    return tiny_student().eval()


def test_the_label_is_the_likeliest_candidate_whatever_the_size_of_the_batches(student):
    results = student.recognize(CLIPS, ACTIONS, batch_size=4)
    batch = student.renderer.collate(CLIPS)
    scores = student.rank(batch, [mqa_prompt(ACTIONS)] * len(CLIPS), ACTIONS).numpy()
    assert [result.clip_id for result in results] == [clip.clip_id for clip in CLIPS]
    for result, row in zip(results, scores, strict=True):
        by_label = {one.label: one.score for one in result.candidates}
        assert result.label == ACTIONS[int(row.argmax())] == result.candidates[0].label
        np.testing.assert_allclose([by_label[label] for label in ACTIONS], row, atol=1e-4)


def test_a_recording_is_asked_about_by_its_path(student, tmp_path):
    plain_numpy.write(CLIPS[0], tmp_path / "a.npz")
    (from_path,) = student.recognize(tmp_path / "a.npz", ACTIONS)
    (from_clip,) = student.recognize(CLIPS[0], ACTIONS)
    assert from_path.score == pytest.approx(from_clip.score, abs=1e-4)


def test_labels_of_training_are_the_default(student):
    student.about = About(actions=("wave", "bow"))
    try:
        assert {one.label for one in student.recognize(CLIPS[0])[0].candidates} == {"wave", "bow"}
    finally:
        student.about = About()
    with pytest.raises(ConfigError, match="none given"):
        student.recognize(CLIPS[0])


def test_questions_and_captions_are_answered_in_words(student):
    described = student.describe(CLIPS[:3], "Which arm\n is raised?", max_new_tokens=3)
    assert [one.question for one in described] == ["Which arm is raised?"] * 3
    assert student.caption(CLIPS[:1], max_new_tokens=3)[0].question == "Describe the movement."
    assert "step by step" in student.describe(CLIPS[0], task="chain", max_new_tokens=3)[0].question


def test_the_mode_of_the_student_is_put_back(student):
    student.train()
    student.recognize(CLIPS[:1], ACTIONS)
    assert student.training
    student.eval()


@pytest.mark.parametrize(
    ("question", "task", "said"),
    [
        ("", "poem", "task 'poem' is unknown; known are question, caption, chain"),
        ("", "question", "it is empty"),
        ("Why?", "caption", "asks in its own words"),
        ("x" * 5000, "", "at most 4000"),
    ],
)
def test_an_impossible_task_is_told(student, question, task, said):
    with pytest.raises(ConfigError, match=said):
        student.describe(CLIPS[0], question, task)


@pytest.mark.parametrize(
    ("options", "said"), [({"batch_size": 0}, "batch_size"), ({"max_new_tokens": 0}, "max_new_tok")]
)
def test_sizes_of_nothing_are_told(student, options, said):
    with pytest.raises(ConfigError, match=said):
        student.describe(CLIPS[0], **options)


def test_a_clip_that_cannot_be_drawn_is_an_error_or_left_out_and_told(student, monkeypatch):
    real = student.renderer.prepare

    def prepare(clip):
        if clip is CLIPS[1]:
            raise DataError("no such body")
        return real(clip)

    monkeypatch.setattr(student.renderer, "prepare", prepare)
    with pytest.raises(DataError, match="no such body"):
        student.recognize(CLIPS[:3], ACTIONS)
    refused = []
    results = list(answer.recognize(student, CLIPS[:3], ACTIONS, refused=lambda clip, error: refused.append(clip)))
    assert [result.clip_id for result in results] == [CLIPS[0].clip_id, CLIPS[2].clip_id]
    assert refused == [CLIPS[1]]


def test_clips_are_read_while_the_model_works_and_never_all_at_once(student):
    most_read, asked = 0, 0

    def reading():
        nonlocal most_read
        for number in range(64):
            most_read = max(most_read, number - asked)
            yield CLIPS[number % len(CLIPS)]

    for _ in answer.recognize(student, reading(), ACTIONS, batch_size=4):
        asked += 1
    assert asked == 64
    assert (
        most_read < 24
    )  # four batches under way at most: one asked about, two waiting, one in the making, and one answer


def test_a_saved_student_answers_as_before(student, tmp_path):
    student.save_pretrained(tmp_path / "saved")
    again = SkeletonLLM.from_pretrained(tmp_path / "saved").eval()
    assert again.actions == ()
    before, after = (one.recognize(CLIPS[:2], ACTIONS) for one in (student, again))
    assert [one.label for one in before] == [one.label for one in after]


def test_results_name_the_file(student):
    clip = replace(CLIPS[0], source=replace(CLIPS[0].source, file="walks/a.bvh"))
    assert student.recognize(clip, ACTIONS)[0].file == "walks/a.bvh"
