import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.promote import PROMOTED, promote, read_promoted
from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain, write_whole
from skeletonllm.recipes import get_recipe
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, Manifest, dataset_folder, write_manifest
from skeletonllm.shards.schema import PREDICTIONS, SCHEMA_VERSION, pa
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from skeletonllm.train.config import RunConfig
from tests.makers import performed_clips, write_clips

ACTIONS = ("kick", "wave", "bow", "jump")
TESTED = Protocol("subject", ("P002",))


@pytest.fixture
def work(tmp_path) -> Workdir:
    return Workdir(tmp_path)


@pytest.fixture
def clips(work) -> DatasetRef:
    return write_clips(work.data, performed_clips(ACTIONS))


def checkpoint(work: Workdir, name: str, clips: DatasetRef, protocol: Protocol = TESTED) -> CheckpointRef:
    """A student's folder, and what its run says of the clips that trained it."""
    recipe = get_recipe("smoke")
    folder = work.runs / "recognition" / name
    examples = data_set(work, f"examples_{name}", [], protocol)
    run = RunConfig(recipe.stages[-1], recipe.student, recipe.engine, clips, examples, None, 0)
    (folder / "checkpoints" / "step_4").mkdir(parents=True)
    write_whole(folder / "run.json", json.dumps(to_plain(run)))
    return CheckpointRef("recognition", str(folder / "checkpoints" / "step_4"), name * 12)


def data_set(work: Workdir, name: str, rows: list[dict], protocol: Protocol, actions=ACTIONS) -> DatasetRef:
    folder = dataset_folder(work.data, name, name)
    write_shard(folder / shard_name(0, 1), pa.Table.from_pylist(rows, schema=PREDICTIONS))
    entry, _ = describe_shard(folder / shard_name(0, 1))
    config = {"protocol": to_plain(protocol), "actions": list(actions)}
    return write_manifest(
        folder, Manifest(name, "predictions", SCHEMA_VERSION, "predict", 1, config, [], name, [entry])
    )


class Students:
    """Students that recognise the actions they are said to know, and are asked at most as often as they should be."""

    def __init__(self, work: Workdir, clips: DatasetRef, protocol: Protocol = TESTED):
        self.work, self.clips, self.protocol = work, clips, protocol
        self.knows: dict[str, set[str]] = {}
        self.asked: list[str] = []

    def ask(self, student: CheckpointRef) -> DatasetRef:
        name = student.fingerprint
        self.asked.append(name[0])
        rows = [
            {
                "clip_id": clip.clip_id,
                "action": clip.action,
                "predicted": clip.action if clip.action in self.knows[name[0]] else "nothing",
                "scores": [],
                "format": clip.source.format,
                "subject": clip.source.subject,
                "camera": "",
            }
            for clip in performed_clips(ACTIONS, ("P001", "P002", "P003"))
            if self.protocol.split_of(clip.source) != "train"
        ]
        return data_set(self.work, f"answers-{name}-{len(self.asked)}", rows, self.protocol)

    def promote(self, student: CheckpointRef, knows: set[str], tolerance: float = 0.0):
        self.knows[student.fingerprint[0]] = knows
        return promote(self.work, self.clips, student, self.ask, tolerance)


@pytest.fixture
def students(work, clips) -> Students:
    return Students(work, clips)


def test_the_first_student_is_promoted_and_the_pointer_says_how_good_it_is(work, clips, students):
    assert read_promoted(work) is None
    first = checkpoint(work, "a", clips)
    assert students.promote(first, {"kick", "wave"}).is_promoted
    promoted = read_promoted(work)
    assert promoted is not None
    assert (promoted.checkpoint, promoted.right, promoted.total, promoted.previous) == (first, 2, 4, None)
    assert "the first: 2 of 4 test clips (50.0%)" in promoted.reason


@pytest.mark.parametrize(
    ("knows", "tolerance", "moves"),
    [({"kick", "bow"}, 0.0, True), ({"kick"}, 0.0, False), (set(), 0.25, False), ({"kick"}, 0.25, True)],
)
def test_the_pointer_moves_only_to_a_student_that_is_not_worse(work, clips, students, knows, tolerance, moves):
    first, second = (checkpoint(work, name, clips) for name in "ab")
    students.promote(first, {"kick", "wave"})
    decision = students.promote(second, knows, tolerance)
    promoted = read_promoted(work)
    assert promoted is not None
    assert decision.is_promoted == moves
    assert promoted.checkpoint == (second if moves else first)
    assert promoted.previous == (first if moves else None)
    assert f"{len(knows)} of 4 test clips" in decision.reason
    assert "the promoted aaaaaaaaaaaa 2 of 4" in decision.reason
    assert students.asked == ["a", "b"]  # the same test clips: what the first knew of them is known


def test_the_promoted_student_is_promoted_already(work, clips, students):
    first = checkpoint(work, "a", clips)
    students.promote(first, {"kick"})
    before = (work.path / PROMOTED).read_bytes()
    assert "it is so already (the first" in students.promote(first, {"kick"}).reason
    assert (work.path / PROMOTED).read_bytes() == before


def test_where_other_clips_test_the_promoted_student_is_asked_again_about_those_that_did_not_train_it(
    work, clips, students
):
    students.promote(checkpoint(work, "a", clips), {"kick", "wave"})  # trained by P001, tested by P002
    more = write_clips(work.path / "more", performed_clips(ACTIONS, ("P001", "P002", "P003")))
    later = Students(work, more, Protocol("subject", ("P001", "P003")))
    later.knows = students.knows
    decision = later.promote(checkpoint(work, "b", more, later.protocol), {"kick"})
    assert later.asked == ["b", "a"]
    assert not decision.is_promoted
    assert "1 of 4 test clips" in decision.reason  # of P003
    assert "the promoted aaaaaaaaaaaa 2 of 4" in decision.reason
    assert "asked again, without 4 that trained it" in decision.reason


def test_where_every_test_clip_trained_the_promoted_student_the_next_is_promoted_and_the_reason_says_so(
    work, clips, students
):
    students.promote(checkpoint(work, "a", clips), set(ACTIONS))
    later = Students(work, clips, Protocol("subject", ("P001",)))
    later.knows = students.knows
    decision = later.promote(checkpoint(work, "b", clips, later.protocol), {"kick"})
    assert decision.is_promoted
    assert "cannot be compared" in decision.reason


def test_clips_of_formats_never_trained_on_do_not_judge(work, clips):
    with pytest.raises(DataError, match="no clip was tested"):
        Students(work, clips, replace(TESTED, cross_format=("made",))).promote(checkpoint(work, "a", clips), {"kick"})


def test_a_promoted_student_that_is_gone_is_replaced(work, clips, students):
    first = checkpoint(work, "a", clips)
    students.promote(first, set(ACTIONS))
    Path(first.path).rmdir()
    decision = students.promote(checkpoint(work, "b", clips), {"kick"})
    assert decision.is_promoted
    assert "no longer at" in decision.reason


def test_a_damaged_pointer_and_a_wrong_tolerance_are_clear_errors(work, clips, students):
    with pytest.raises(ConfigError, match=r"tolerance is 2\.0, must be a share"):
        students.promote(checkpoint(work, "a", clips), set(), 2.0)
    (work.path / PROMOTED).write_text("{")
    with pytest.raises(ConfigError, match=r"promoted\.json: not JSON"):
        read_promoted(work)
