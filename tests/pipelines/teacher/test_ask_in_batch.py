import functools
import json

import pytest

from pipelines import teach
from pipelines.teacher import batch
from pipelines.teacher.batch import Patience
from pipelines.teacher.limits import Limits
from skeletonllm.errors import BudgetError, TeacherError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.reader import ShardReader
from tests.fake_batch import FakeBatches
from tests.fake_teacher import CHAIN, FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips

CLIPS = performed_clips(("kick", "wave"), ("P001", "P002", "P003"))
PROTOCOL = to_plain(Protocol("subject", ("P002",)))
TRAINING = ["P001-kick", "P001-wave", "P003-kick", "P003-wave"]
written = functools.partial(kinematic_answer, CLIPS)


def at_first_wrong(body) -> str:
    """Contradicted by the joints, until the faults are told."""
    return written(body) if len(body["messages"]) > 2 else json.dumps({**CHAIN, "answer": "kick"})


@pytest.fixture
def teach_by_batches(tmp_path, monkeypatch):
    """Builds the chains by the batches of a fake."""
    clips = write_clips(tmp_path, CLIPS)
    monkeypatch.setattr(batch, "Patience", lambda: Patience(poll_s=0.01, lost_s=0.0, first_wait_s=0.001))
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "fake")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    (tmp_path / "prices.toml").write_text("[fake]\ninput = 1.0\noutput = 10.0\nbatch = 0.5\n")

    def build(fake: FakeBatches | FakeTeacher, name: str = "", **limits) -> ShardReader:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        config = teach.configure(("kick", "wave"), PROTOCOL, limits=Limits(**{"batch": True, **limits}))
        return ShardReader(teach.run(clips, None, config, tmp_path / name, tmp_path / f"ledger{name}.sqlite"))

    return build


def test_chains_come_by_one_batch_and_a_second_run_asks_nothing(teach_by_batches):
    with FakeBatches(answer=written) as fake:
        made = teach_by_batches(fake)
        assert teach_by_batches(fake).manifest == made.manifest
        assert [len(keys) for keys in fake.submitted] == [4]
    rows = made.table().to_pylist()
    assert [row["clip_id"] for row in rows] == TRAINING
    assert {(row["verdict"], row["teacher"]) for row in rows} == {("accepted", "fake")}
    assert made.manifest.statistics["prompt_tokens"] == 4000


def test_chains_that_the_joints_contradict_are_repaired_by_a_second_batch(teach_by_batches):
    with FakeBatches(answer=at_first_wrong) as fake:
        made = teach_by_batches(fake)
        assert [len(keys) for keys in fake.submitted] == [4, 4]
    assert made.manifest.statistics["verdicts"] == {"accepted": 4}


def test_what_a_batch_refuses_is_a_rejection_with_its_reason_and_nobody_is_asked_live(teach_by_batches):
    with FakeBatches("half failed", answer=written) as fake:
        made = teach_by_batches(fake)
        assert [len(keys) for keys in fake.submitted] == [4]
    assert len(made) == 2
    assert all("this picture is not allowed" in row["reason"] for row in made.rejected())
    assert made.manifest.num_rejected == 2


def test_a_cap_publishes_nothing_and_a_higher_one_pays_for_the_rest_only(teach_by_batches, tmp_path):
    with FakeBatches(answer=written) as fake:
        with pytest.raises(BudgetError):
            teach_by_batches(fake, max_requests=3)
        assert not list((tmp_path / "chains").rglob("manifest.json"))
        assert len(teach_by_batches(fake)) == 4
        assert [len(keys) for keys in fake.submitted] == [3, 1]
        assert set(fake.charged.values()) == {1}


def test_a_refusal_publishes_nothing(teach_by_batches, tmp_path):
    with FakeBatches("unauthorized", answer=written) as fake, pytest.raises(TeacherError, match="status 403"):
        teach_by_batches(fake)
    assert not list((tmp_path / "chains").rglob("manifest.json"))
