import functools
import weakref
from contextlib import closing
from dataclasses import replace

import pytest

from pipelines.settings import Settings
from pipelines.teacher.ask import ask_for_chains
from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from skeletonllm.errors import BudgetError, ChainError, RequestError
from skeletonllm.skeleton.performers import perform
from tests.fake_teacher import Body, FakeTeacher, kinematic_answer

CLIPS = [perform(action, 0, 0, 0, fps=30.0) for action in ("wave", "kick", "bow")]
written = functools.partial(kinematic_answer, CLIPS)


@pytest.fixture
def ask(tmp_path):
    """Asks a fake about clips; the ledger lasts as long as the test."""

    def ask(fake: FakeTeacher, clips=CLIPS, draw=lambda clip: [b"png"], **limits):
        limits = Limits(**{"at_once": 2, **limits})
        with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")) as ledger:
            teacher = OpenAITeacher(Settings("fake", fake.url, "key"), ledger, "", limits, first_wait_s=0.01)
            with closing(teacher):
                answered = ask_for_chains(clips, draw, teacher, "fake", fake.url, limits.at_once)
                return [one.chain for one in sorted(answered, key=lambda one: one.place)]

    return ask


def verdicts(chains):
    return [chain.verdict for chain in chains]


def test_chains_know_the_place_of_their_clips_and_are_checked(ask):
    with FakeTeacher(answer=written) as fake:
        chains = ask(fake)
        assert [chain.clip_id for chain in chains] == [clip.clip_id for clip in CLIPS]
        assert verdicts(chains) == ["accepted"] * 3
        assert ask(fake) == chains
        assert fake.count == 3


def test_a_contradicted_chain_is_repaired_by_one_more_request_with_the_facts(ask):
    def careless(body: Body) -> str:
        return written(body) if len(body["messages"]) > 2 else written(body, answer="dance")

    with FakeTeacher(answer=careless) as fake:
        assert verdicts(ask(fake)) == ["accepted"] * 3
        assert fake.count == 6
        assert any("the answer is 'dance'" in str(body["messages"][-1]["content"]) for body in fake.bodies)


def test_a_teacher_that_insists_is_asked_twice_and_rejected_with_reasons(ask):
    with FakeTeacher(answer=lambda body: written(body, answer="dance")) as fake:
        chains = ask(fake)
        assert verdicts(chains) == ["rejected"] * 3
        assert "the answer is 'dance'" in chains[0].reasons[0]
        assert fake.count == 6


@pytest.mark.parametrize("trouble", ["nonsense", "wrong schema", "empty"])
def test_a_reply_that_is_no_chain_costs_its_own_clip_and_no_other(ask, trouble):
    with FakeTeacher(trouble, answer=written) as fake:
        chains = ask(fake)
    assert sum(isinstance(chain, ChainError) for chain in chains) == 1
    assert sum(getattr(chain, "verdict", "") == "accepted" for chain in chains) == 2


def test_a_request_that_the_server_does_not_take_costs_its_own_clip_and_no_other(ask):
    with FakeTeacher("too long", answer=written) as fake:
        chains = ask(fake)
    assert sum(isinstance(chain, RequestError) for chain in chains) == 1
    assert sum(getattr(chain, "verdict", "") == "accepted" for chain in chains) == 2


def test_a_cut_reply_is_asked_for_once_more_with_twice_the_room(ask):
    with FakeTeacher("cut", answer=written) as fake:
        assert verdicts(ask(fake, CLIPS[:1])) == ["accepted"]
        assert verdicts(ask(fake, CLIPS[:1])) == ["accepted"]
        assert [body["max_tokens"] for body in fake.bodies] == [1024, 2048]


def test_a_reply_that_is_cut_twice_is_a_reason(ask):
    with FakeTeacher("cut", "cut", answer=written) as fake:
        (chain,) = ask(fake, CLIPS[:1])
        assert isinstance(chain, ChainError)
        assert fake.count == 2


def test_a_cap_ends_the_asking_and_a_higher_one_asks_for_the_rest_only(ask):
    with FakeTeacher(answer=written) as fake:
        with pytest.raises(BudgetError, match=r"asked 2 times, at most 2 .* higher --max-requests"):
            ask(fake, max_requests=2)
        assert fake.count == 2
        assert verdicts(ask(fake, max_requests=3)) == ["accepted"] * 3
        assert fake.count == 3


def test_clips_of_any_number_are_not_held_together(tmp_path):
    alive = most = 0

    def gone():
        nonlocal alive
        alive -= 1

    def clips():
        nonlocal alive, most
        for number in range(30):
            clip = replace(CLIPS[0], clip_id=f"c{number}")
            weakref.finalize(clip, gone)
            alive, most = alive + 1, max(most, alive + 1)
            yield clip
            del clip

    with FakeTeacher(latency_s=0.005) as fake, closing(Ledger.open(f"sqlite:///{tmp_path}/l.sqlite")) as ledger:
        teacher = OpenAITeacher(Settings("fake", fake.url), ledger)
        count = sum(1 for _ in ask_for_chains(clips(), lambda clip: [], teacher, "fake", fake.url, at_once=2))
        teacher.close()
    assert count == 30
    assert most <= 8
