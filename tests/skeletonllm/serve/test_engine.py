import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skeletonllm.errors import ConfigError
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.serve.engine import Engine, Work
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.protocol import Outcome, Question
from tests.makers import performed_clips
from tests.students import ACTIONS, tiny_student

CLIPS = performed_clips(("bow", "kick", "wave"))
ASKED = Question("Describe.", None, (), None, None, 4, False, False)
RANKED = replace(ASKED, text=mqa_prompt(ACTIONS), labels=ACTIONS)


class Heard:
    """Keeps what the engine tells."""

    def __init__(self, at_text: Callable[[], object] = lambda: None) -> None:
        self.texts: list[str] = []
        self.end: Outcome | Refusal | None = None
        self.ended = threading.Event()
        self._at_text = at_text

    def text(self, text: str) -> None:
        self.texts.append(text)
        self._at_text()

    def done(self, outcome: Outcome) -> None:
        assert self.end is None
        self.end = outcome
        self.ended.set()

    def refused(self, refusal: Refusal) -> None:
        assert self.end is None
        self.end = refusal
        self.ended.set()

    def outcome(self) -> Outcome:
        assert self.ended.wait(60)
        assert isinstance(self.end, Outcome), self.end
        return self.end

    def refusal(self) -> Refusal:
        assert self.ended.wait(60)
        assert isinstance(self.end, Refusal)
        return self.end


@pytest.fixture(scope="module")
def student():
    return tiny_student().eval()


@pytest.fixture
def engine(student):
    made = Engine(student, Limits(max_waiting=8, max_batch=4))
    yield made
    made.stop()


def hold(engine: Engine, student) -> tuple[threading.Event, Heard]:
    """Something for the model to do until the event is set, so that questions gather in the queue."""
    going, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        going.wait(60)

    heard = Heard(wait)
    engine.submit(Work(replace(ASKED, labels=("a", "b")), None, heard))
    assert begun.wait(60)
    return going, heard


def prepared(student, number: int):
    return student.renderer.prepare(CLIPS[number])


def test_what_is_asked_together_is_answered_as_if_alone(engine, student):
    going, _ = hold(engine, student)
    heard = [Heard() for _ in range(6)]
    for number, one in enumerate(heard):
        engine.submit(Work(RANKED if number % 2 else ASKED, prepared(student, number), one))
    going.set()
    for number, one in enumerate(heard):
        outcome = one.outcome()
        if number % 2:
            (expected,) = student.recognize(CLIPS[number], ACTIONS)
            assert outcome.text == expected.label
            assert outcome.candidates[0].score == pytest.approx(expected.score, abs=1e-4)
        else:
            batch = student.renderer.collate([CLIPS[number]])
            assert outcome.text == student.generate(batch, ["Describe."], 4)[0]
        assert "".join(one.texts) == outcome.text


def test_pictures_are_seen_as_the_clips_own_frames_are(engine, student):
    with torch.inference_mode():
        frames = student.renderer(student.renderer.collate([CLIPS[0]]))[0]
    drawn, sent = Heard(), Heard()
    engine.submit(Work(RANKED, prepared(student, 0), drawn))
    engine.submit(Work(RANKED, frames.clone(), sent))
    for one, other in zip(drawn.outcome().candidates, sent.outcome().candidates, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_questions_of_different_lengths_end_when_they_are_long_enough(engine, student):
    going, _ = hold(engine, student)
    short, long = Heard(), Heard()
    engine.submit(Work(replace(ASKED, text="hello", max_new_tokens=1), None, short))
    engine.submit(Work(replace(ASKED, text="hello", max_new_tokens=6), None, long))
    going.set()
    assert short.outcome().completion_tokens <= 1
    assert long.outcome().completion_tokens <= 6
    assert long.outcome().text.startswith(short.outcome().text)


def test_one_that_makes_the_model_fail_does_not_harm_the_others(engine, student, monkeypatch):
    rank = student.rank

    def failing(batch, prompts, candidates):
        if "fail" in prompts:
            raise ValueError("of this prompt")
        return rank(batch, prompts, candidates)

    monkeypatch.setattr(student, "rank", failing)
    going, _ = hold(engine, student)
    good, bad = Heard(), Heard()
    engine.submit(Work(RANKED, prepared(student, 0), good))
    engine.submit(Work(replace(RANKED, text="fail"), prepared(student, 1), bad))
    going.set()
    assert good.outcome().text in ACTIONS
    assert bad.refusal().status == 500


def test_a_mistake_that_the_model_explains_is_the_clients(engine, student, monkeypatch):
    def failing(*_, **__):
        raise ConfigError("too many frames for this model; send fewer")

    monkeypatch.setattr(student, "rank", failing)
    heard = Heard()
    engine.submit(Work(RANKED, prepared(student, 0), heard))
    assert (heard.refusal().status, heard.refusal().message) == (400, "too many frames for this model; send fewer")


def test_a_question_longer_than_the_context_is_refused(engine, student):
    long, many = Heard(), Heard()
    room = student.mllm.config.get_text_config().max_position_embeddings
    engine.submit(Work(replace(ASKED, text="word " * (8 * room)), None, long))
    engine.submit(Work(ASKED, torch.zeros(room, 3, 32, 32), many))
    assert long.refusal().code == many.refusal().code == "context_length_exceeded"
    assert f"{room} frames" in many.refusal().message


def test_a_full_queue_refuses_and_whoever_is_gone_is_not_answered(engine, student):
    going, _ = hold(engine, student)
    heard = [Heard() for _ in range(8)]
    works = [Work(RANKED, prepared(student, 0), one) for one in heard]
    for work in works:
        engine.submit(work)
    with pytest.raises(Refusal) as raised:
        engine.submit(Work(ASKED, None, Heard()))
    assert (raised.value.status, raised.value.retry_after_s) == (503, 1)
    works[3].gone.set()
    going.set()
    assert "gone" in heard[3].refusal().message
    assert heard[7].outcome().text in ACTIONS


def test_what_waits_is_answered_before_the_end_and_nothing_new_is_taken(student):
    engine = Engine(student, Limits())
    going, first = hold(engine, student)
    waiting = Heard()
    engine.submit(Work(RANKED, prepared(student, 0), waiting))
    threading.Timer(0.2, going.set).start()
    engine.stop()
    assert first.outcome().text in ("a", "b")
    assert waiting.outcome().text in ACTIONS
    with pytest.raises(Refusal, match="stopping"):
        engine.submit(Work(ASKED, None, Heard()))
    assert not engine.alive
