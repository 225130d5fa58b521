import pytest

from skeletonllm.evaluate.predict import caption, predict
from tests.makers import make_clip
from tests.students import ACTIONS, tiny_student


def test_a_real_student_answers_clips_of_several_formats_and_keeps_its_mode():
    student = tiny_student().train()
    clips = [make_clip("b"), make_clip("a", topology="coco_17"), make_clip("c", num_persons=2, num_frames=5)]
    one, two = predict(student, clips, ACTIONS), predict(student, clips, ACTIONS, batch_size=1)
    assert student.training
    assert [answer.clip_id for answer in one] == ["a", "b", "c"]
    for together, alone in zip(one, two, strict=True):
        assert together.predicted in ACTIONS
        assert together.scores == pytest.approx(alone.scores, abs=1e-4)
    assert len(caption(student, clips)) == 3
