"""Chains are made of training clips of seen classes alone, whatever a configuration asks for."""

import json
from dataclasses import replace

import pytest

from pipelines import assemble, teach
from pipelines.split import copies_of_held_out, protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.reader import ShardReader
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips


def with_source(clip, clip_id, **changes):
    return replace(clip, clip_id=clip_id, source=replace(clip.source, **changes))


HONEST = [
    with_source(clip, clip.clip_id, sha256=f"sha of {clip.clip_id}")
    for clip in performed_clips(("kick", "wave"), ("P001", "P002", "P003"))
]
TESTED = [clip for clip in HONEST if clip.source.subject == "P003"]
UNSEEN = with_source(performed_clips(("bow",), ("P003",))[0], "unseen class")
FOREIGN = with_source(HONEST[0], "another format", format="bvh", sha256="its own")
COPY = with_source(TESTED[1], "copy of a tested clip", subject="P001")
NEIGHBOUR = with_source(HONEST[1], "of the same file as a tested clip", sha256=TESTED[1].source.sha256)
EXPECTED = {clip.clip_id for clip in HONEST if clip not in TESTED} | {NEIGHBOUR.clip_id}


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, [*HONEST, UNSEEN, FOREIGN, COPY, NEIGHBOUR])


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    for name in ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def taught(root, clips, actions, protocol) -> set[str]:
    built = teach.run(clips, None, teach.configure(actions, protocol), root, root / "ledger.sqlite")
    reader = ShardReader(built)
    return {row["clip_id"] for row in reader.table().to_pylist()} | {row["place"] for row in reader.rejected()}


def test_a_configuration_that_names_an_unseen_class_gets_no_chain_of_it(tmp_path, clips):
    protocol = protocol_of(clips, "subject=P003", ("bvh",))
    actions = assemble.training_actions(clips, protocol)
    assert actions == ("kick", "wave")
    assert taught(tmp_path, clips, actions, to_plain(protocol)) == EXPECTED
    assert taught(tmp_path, clips, (*actions, "bow"), to_plain(protocol)) == EXPECTED


def test_a_server_is_told_of_no_clip_that_is_held_out(tmp_path, clips, monkeypatch):
    everything = [*HONEST, UNSEEN, FOREIGN, COPY, NEIGHBOUR]
    with FakeTeacher(answer=lambda body: kinematic_answer(everything, body)) as fake:
        monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "fake")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        protocol = to_plain(protocol_of(clips, "subject=P003", ("bvh",)))
        assert taught(tmp_path, clips, ("bow", "kick", "wave"), protocol) == EXPECTED
        told = json.dumps(fake.bodies)
    for clip in (*TESTED, UNSEEN, FOREIGN, COPY):
        assert clip.clip_id not in told


def test_only_the_copies_themselves_are_taken_for_copies(clips, caplog):
    protocol = protocol_of(clips, "subject=P003", ("bvh",))
    copies_of_held_out.cache_clear()
    with caplog.at_level("INFO"):
        assert copies_of_held_out(clips, protocol) == {COPY.clip_id}
    assert "1 training clips are copies of clips that are held out" in caplog.text
