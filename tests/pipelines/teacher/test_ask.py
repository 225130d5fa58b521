import functools

from pipelines.settings import Settings
from pipelines.teacher.ask import ask_for_chains
from skeletonllm.errors import ChainError
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.performers import perform
from tests.fake_teacher import Body, FakeTeacher, kinematic_answer

CLIPS = [perform(action, 0, 0, 0, fps=30.0) for action in ("wave", "kick", "bow")]
written = functools.partial(kinematic_answer, CLIPS)


def ask(fake: FakeTeacher, store) -> list[ReasoningChain | ChainError]:
    settings = Settings("fake", fake.url, "key")
    return [one.chain for one in ask_for_chains(CLIPS, [[b"png"]] * 3, "fake", settings, store, concurrency=2)]


def verdicts(chains):
    return [chain.verdict for chain in chains]


def test_chains_come_in_the_order_of_the_clips_and_are_checked(tmp_path):
    with FakeTeacher(answer=written) as fake:
        chains = ask(fake, tmp_path / "r.sqlite")
        assert [chain.clip_id for chain in chains] == [clip.clip_id for clip in CLIPS]
        assert verdicts(chains) == ["accepted"] * 3
        assert ask(fake, tmp_path / "r.sqlite") == chains
        assert fake.count == 3


def test_a_contradicted_chain_is_repaired_by_one_more_request_with_the_facts(tmp_path):
    def careless(body: Body) -> str:
        return written(body) if len(body["messages"]) > 2 else written(body, answer="dance")

    with FakeTeacher(answer=careless) as fake:
        assert verdicts(ask(fake, tmp_path / "r.sqlite")) == ["accepted"] * 3
        assert fake.count == 6
        assert any("the answer is 'dance'" in str(body["messages"][-1]["content"]) for body in fake.bodies)


def test_a_teacher_that_insists_is_asked_twice_and_rejected_with_reasons(tmp_path):
    with FakeTeacher(answer=lambda body: written(body, answer="dance")) as fake:
        chains = ask(fake, tmp_path / "r.sqlite")
        assert verdicts(chains) == ["rejected"] * 3
        assert "the answer is 'dance'" in chains[0].reasons[0]
        assert fake.count == 6


def test_nonsense_costs_its_own_clip_and_no_other(tmp_path):
    with FakeTeacher("nonsense", answer=written) as fake:
        chains = ask(fake, tmp_path / "r.sqlite")
    assert sum(isinstance(chain, ChainError) for chain in chains) == 1
    assert sum(getattr(chain, "verdict", "") == "accepted" for chain in chains) == 2
