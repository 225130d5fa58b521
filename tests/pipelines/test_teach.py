import functools

import pytest

from pipelines import teach
from pipelines.teacher.limits import Limits
from skeletonllm.errors import BudgetError, ConfigError, DataError, TeacherError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.shards.reader import ShardReader
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips
from tests.students import tiny_student

CLIPS = performed_clips()
written = functools.partial(kinematic_answer, CLIPS)
ACTIONS = ("kick", "wave")
PROTOCOL = to_plain(Protocol("subject", ("P002",)))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, CLIPS)


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """Names a server in the environment; until then none is."""
    names = ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY")
    for name in (*names, "SKELETONLLM_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)

    def use(url: str) -> None:
        for name, value in zip(names, ("fake", url, "secret-key"), strict=True):
            monkeypatch.setenv(name, value)

    return use


def build(root, clips, checkpoint=None, **options) -> ShardReader:
    config = teach.configure(ACTIONS, PROTOCOL, **options)
    return ShardReader(teach.run(clips, checkpoint, config, root, root / "ledger.sqlite"))


def test_without_a_server_the_offline_teacher_writes_chains_of_the_training_clips(tmp_path, clips):
    reader = build(tmp_path, clips)
    rows = reader.table().to_pylist()
    assert [row["clip_id"] for row in rows] == ["P001-kick", "P001-wave"]
    assert {(row["verdict"], row["teacher"]) for row in rows} == {("accepted", "kinematic")}
    assert reader.manifest.statistics["verdicts"] == {"accepted": 2}


def test_a_limit_is_kept_for_each_action(tmp_path):
    clips = write_clips(tmp_path, performed_clips(ACTIONS, ("P001", "P003", "P004")))
    assert len(build(tmp_path, clips, max_per_action=1)) == 2


def test_a_server_sees_frames_of_the_student_s_renderer_and_its_tokens_are_counted(tmp_path, clips, server):
    tiny_student().save_pretrained(tmp_path / "student")
    checkpoint = CheckpointRef("disc_ft", str(tmp_path / "student"), "c" * 64)
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        reader = build(tmp_path, clips, checkpoint)
        pictures = [part for part in fake.bodies[0]["messages"][1]["content"] if part["type"] == "image_url"]
    assert len(pictures) == tiny_student().config.render.num_frames
    assert [row["verdict"] for row in reader.table().to_pylist()] == ["accepted"] * 2
    assert reader.manifest.statistics["prompt_tokens"] == 14
    assert fake.count == 2


def test_replies_that_were_paid_for_are_not_asked_for_again(tmp_path, clips, server):
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        first = build(tmp_path, clips)
        assert build(tmp_path, clips).manifest == first.manifest
        for file in (tmp_path / "chains").rglob("*.*"):
            file.unlink()
        again = build(tmp_path, clips)
        assert fake.count == 2
    assert again.manifest.shards == first.manifest.shards


def test_nonsense_is_a_recorded_rejection(tmp_path, clips, server):
    with FakeTeacher("nonsense", answer=written) as fake:
        server(fake.url)
        reader = build(tmp_path, clips)
    (rejected,) = reader.rejected()
    assert "no JSON object" in rejected["reason"]
    assert len(reader) == 1


def test_a_teacher_that_refuses_is_one_error_and_the_next_run_goes_on(tmp_path, clips, server):
    with FakeTeacher("refused", "refused", answer=written) as fake:
        server(fake.url)
        with pytest.raises(TeacherError, match=r"refused with status 401 .* check OPENAI_API_KEY"):
            build(tmp_path, clips)
    assert not list((tmp_path / "chains").rglob("manifest.json"))
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        assert len(build(tmp_path, clips)) == 2


def test_a_cap_that_cannot_be_kept_is_told_before_any_work_begins(tmp_path, clips, server, monkeypatch):
    monkeypatch.setattr(teach, "map_shards", lambda *_, **__: pytest.fail("it began"))
    server("https://teacher.example.org/v1")
    with pytest.raises(ConfigError, match="the price of 'fake' is not known, so --max-cost cannot be kept"):
        build(tmp_path, clips, limits=Limits(max_cost=1.0))


def test_a_cap_publishes_nothing_and_a_higher_one_pays_for_the_rest_only(tmp_path, clips, server):
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        with pytest.raises(BudgetError, match="--max-requests"):
            build(tmp_path, clips, limits=Limits(max_requests=1))
        assert not list((tmp_path / "chains").rglob("shard-*"))
        whole = build(tmp_path, clips, limits=Limits(max_requests=2, at_once=1))
        assert fake.count == 2
    assert build(tmp_path, clips).manifest == whole.manifest  # how it was asked is no part of what it is


def test_a_replay_makes_the_same_bytes_without_a_server(tmp_path, clips, server):
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        live = build(tmp_path, clips)
    for file in (tmp_path / "chains").rglob("*.*"):
        file.unlink()
    replayed = build(tmp_path, clips, limits=Limits(replay=True))
    assert replayed.manifest.fingerprint == live.manifest.fingerprint
    assert replayed.manifest.shards == live.manifest.shards


def test_a_replay_that_misses_replies_says_so_and_is_not_taken_for_the_whole(tmp_path, clips, server):
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        with pytest.raises(BudgetError):
            build(tmp_path, clips, limits=Limits(max_requests=1, at_once=1))
        part = build(tmp_path, clips, limits=Limits(replay=True))
        assert fake.count == 1
        assert len(part) == 1
        assert "the ledger has no reply" in part.rejected()[0]["reason"]
        assert len(build(tmp_path, clips)) == 2


def test_the_password_of_a_ledger_is_in_no_file(tmp_path, clips, server, monkeypatch, caplog):
    monkeypatch.setenv("SKELETONLLM_LEDGER_URL", "postgresql://me:canary-word@127.0.0.1:9/none")
    server("http://127.0.0.1:9/v1")
    with pytest.raises((DataError, ConfigError)) as caught:
        build(tmp_path, clips)
    assert "canary-word" not in str(caught.value) + caplog.text
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"canary-word" in file.read_bytes()]


def test_no_file_holds_the_key(tmp_path, clips, server):
    with FakeTeacher(answer=written) as fake:
        server(fake.url)
        build(tmp_path, clips)
    assert fake.keys == ["Bearer secret-key"] * 2
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"secret-key" in file.read_bytes()]
