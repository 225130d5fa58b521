import functools

import pytest

from pipelines import teach, teach_plan
from pipelines.settings import Settings
from pipelines.teacher.limits import Limits
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips
from tests.prompt_files import edited
from tests.students import tiny_student

CLIPS = performed_clips(("kick", "wave"), ("P001", "P002", "P003", "P004"))
written = functools.partial(kinematic_answer, CLIPS)
NOWHERE = "http://127.0.0.1:9/v1"  # nobody is there: a plan that asked would fail
NUM_CLIPS = 6


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans, or asks, with changes of the configuration."""
    for name in ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    clips = write_clips(tmp_path, CLIPS)

    def go(url: str = NOWHERE, run: bool = False, checkpoint=None, model: str = "gpt-4o", **changes):
        protocol = to_plain(Protocol("subject", ("P004",)))
        config = teach.configure(("kick", "wave"), protocol, who=Settings(model, url if model else ""), **changes)
        return (teach.run if run else teach_plan.plan)(clips, checkpoint, config, tmp_path, tmp_path / "ledger.sqlite")

    return go


def by_kind(plan) -> dict[str, teach_plan.Line]:
    return {line.what: line for line in plan.lines}


def test_a_plan_counts_requests_tokens_and_cost_and_asks_nobody(planned, tmp_path):
    plan = planned()
    lines = by_kind(plan)
    assert (plan.num_clips, lines["new"].requests, lines["answered already"].requests) == (NUM_CLIPS, NUM_CLIPS, 0)
    assert lines["new"].why == "no chains are here yet"
    total = lines["to be asked"]
    assert 0 < total.prompt_tokens + total.completion_tokens < total.most_tokens
    assert total.most_cost == 0.0  # a server of this machine costs nothing
    assert not list(tmp_path.glob("chains/*"))


def test_what_is_paid_for_has_a_cost_and_an_unknown_price_is_said(planned):
    paid = by_kind(planned("https://api.example.org/v1"))["to be asked"]
    assert 0 < paid.cost < paid.most_cost
    half = by_kind(planned("https://api.example.org/v1", limits=Limits(batch=True)))["to be asked"]
    assert half.cost == pytest.approx(paid.cost / 2)
    unknown = planned("https://api.example.org/v1", model="nobody-knows-me")
    assert by_kind(unknown)["to be asked"].cost is None
    assert any("add it to prices.toml" in note for note in unknown.notes)
    assert "?" in teach_plan.markdown_of(unknown)


def test_pictures_are_counted_by_their_size(planned, tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    checkpoint = CheckpointRef("disc_ft", str(tmp_path / "student"), "c" * 64)
    shown, bare = (by_kind(planned("https://api.example.org/v1", checkpoint=one))["new"] for one in (checkpoint, None))
    num_pictures = tiny_student().config.render.num_frames * NUM_CLIPS
    assert shown.prompt_tokens - bare.prompt_tokens == pytest.approx(num_pictures * (85 + 170), abs=40 * NUM_CLIPS)


def test_what_was_asked_is_not_planned_again_and_what_changed_is_named(planned, tmp_path):
    with FakeTeacher(answer=written) as fake:
        planned(fake.url, run=True)
        assert fake.count == NUM_CLIPS
        done = planned(fake.url)
        assert done.is_done
        assert "Nothing to do" in teach_plan.markdown_of(done)
        with edited(tmp_path, "teacher_chain"):
            lines = by_kind(planned(fake.url))
            assert lines["new"].requests == NUM_CLIPS
            assert lines["new"].why == "changed since the last chains: the prompt teacher_chain"
        with edited(tmp_path, "teacher_repair"):
            lines = by_kind(planned(fake.url))
            assert (lines["answered already"].requests, lines["new"].requests) == (NUM_CLIPS, 0)
        assert by_kind(planned(fake.url, model="other"))["new"].why.endswith("the model")
        assert fake.count == NUM_CLIPS


def test_a_begun_data_set_and_its_contradicted_answers_are_planned_exactly(planned):
    def careless(body) -> str:
        return written(body, answer="dance") if "P001" in str(body["messages"]) else written(body)

    with FakeTeacher(answer=careless) as fake:
        with pytest.raises(Exception, match="--max-requests"):
            planned(fake.url, run=True, limits=Limits(max_requests=4, at_once=1))
        lines = by_kind(planned(fake.url))
        kinds = {what: line.requests for what, line in lines.items()}
        assert kinds["answered already"] == fake.count == 4
        assert kinds["new"] == NUM_CLIPS - 2  # P001's two clips took all four: asked and repaired
        assert lines["new"].why == "no chains are here yet"
        planned(fake.url, run=True)
        assert fake.count == NUM_CLIPS + 2


def test_past_answers_tell_what_to_expect(planned):
    with FakeTeacher(answer=written) as fake:
        planned(fake.url, run=True)
        plan = planned(fake.url, max_per_action=1)
        assert any("the mean of 6 answers" in note for note in plan.notes)


def test_the_offline_teacher_costs_nothing_and_says_so(planned):
    plan = planned(model="")
    assert (plan.teacher, plan.num_clips, plan.lines) == ("the offline kinematic one", NUM_CLIPS, ())
    assert "costs nothing" in plan.notes[0]
