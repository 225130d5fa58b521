from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines import mine, motion, predict
from skeletonllm.errors import CheckpointError, ConfigError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.mining.merge import Weights
from skeletonllm.mining.motion import STATISTICS, motion_statistics
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import MOTION, SIMILAR
from tests.makers import performed_clips, write_clips, write_dataset
from tests.students import ACTIONS, tiny_student

PROTOCOL = to_plain(Protocol("subject", ("P002",)))
PERFORMED = performed_clips(("bow", "wave", "kick"))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, PERFORMED)


@pytest.fixture
def checkpoint(tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    return CheckpointRef("render_warmup", str(tmp_path / "student"), "c" * 64)


def ask(root, clips, checkpoint, *splits):
    return predict.run(clips, checkpoint, predict.PredictConfig(splits, ACTIONS, PROTOCOL), root)


def measure(root, clips, actions=ACTIONS):
    return motion.run(clips, motion.MotionConfig(actions, PROTOCOL), root)


def rows(dataset):
    return ShardReader(dataset).table().to_pylist()


def named(root, **similar):
    """A data set of a teacher's answers."""
    answers = [
        {"action": action.replace("_", " "), "similar": other, "rank": rank, "reason": "", "teacher": "t"}
        for action, others in similar.items()
        for rank, other in enumerate(others, start=1)
    ]
    return write_dataset(root, "similar", pa.Table.from_pylist(answers, schema=SIMILAR))


def test_clips_of_the_wanted_splits_with_a_known_action_are_asked_about(tmp_path, clips, checkpoint):
    answered = {
        splits: [row["clip_id"] for row in rows(ask(tmp_path, clips, checkpoint, *splits))]
        for splits in (("train",), ("test",), ("train", "test"), ("cross_format",))
    }
    assert answered["train",] == ["P001-bow", "P001-wave"]
    assert answered["test",] == ["P002-bow", "P002-wave"]
    assert answered["train", "test"] == answered["train",] + answered["test",]
    assert answered["cross_format",] == []


def test_a_student_alone_gives_the_actions_of_its_clips_their_strongest_partners(tmp_path, clips, checkpoint):
    predictions = ask(tmp_path, clips, checkpoint, "train")
    pairs = rows(mine.run(mine.MineConfig(ACTIONS, top_k=1), tmp_path, predictions))
    assert [pair["action"] for pair in pairs] == ["bow", "wave"]  # nobody of the training split sits down
    assert all(pair["confused_with"] in set(ACTIONS) - {pair["action"]} for pair in pairs)
    assert all(pair["student"] == pytest.approx(pair["score"]) for pair in pairs)
    assert all(pair["kinematics"] is pair["teacher"] is None for pair in pairs)
    assert {pair["evidence"] for pair in pairs} == {"student"}


def test_only_training_clips_of_seen_actions_are_measured(tmp_path, clips):
    measured = rows(measure(tmp_path, clips))
    assert [row["clip_id"] for row in measured] == ["P001-bow", "P001-wave"]  # not kick, not P002
    assert measured[0]["statistics"] == pytest.approx(motion_statistics(PERFORMED[0]), rel=1e-5, nan_ok=True)
    assert len(measured[0]["statistics"]) == len(STATISTICS)


def test_what_test_clips_and_unseen_actions_do_changes_no_pair(tmp_path):
    actions = ("bow", "sit down", "squat", "wave")
    performed = performed_clips((*actions, "kick"), ("P001", "P002", "P003"))
    unseen = [clip.source.subject == "P002" or clip.action == "kick" for clip in performed]
    changed = [
        replace(clip, positions=clip.positions[:, ::-1] * 2) if hidden else clip
        for clip, hidden in zip(performed, unseen, strict=True)
    ]
    gone = [clip for clip, hidden in zip(performed, unseen, strict=True) if not hidden]
    mined = []
    for number, some in enumerate((performed, changed, gone)):
        root = tmp_path / str(number)
        measured = measure(root, write_clips(root, some), actions)
        assert len(rows(measured)) == 8
        mined.append(rows(mine.run(mine.MineConfig(actions), root, motion=measured)))
    assert mined[0] == mined[1] == mined[2]
    assert {name for pair in mined[0] for name in (pair["action"], pair["confused_with"])} == set(actions)
    assert len({pair["score"] for pair in mined[0]}) > 4


def test_kinematics_alone_need_no_student(tmp_path, clips):
    pairs = rows(mine.run(mine.MineConfig(ACTIONS), tmp_path, motion=measure(tmp_path, clips)))
    assert [(pair["action"], pair["confused_with"]) for pair in pairs] == [("bow", "wave"), ("wave", "bow")]
    assert all(pair["student"] is pair["mistaken"] is None and pair["kinematics"] == 1 for pair in pairs)


def test_all_kinds_are_merged_and_each_is_told_where_it_spoke(tmp_path, clips, checkpoint):
    evidence = {
        "predictions": ask(tmp_path, clips, checkpoint, "train"),
        "motion": measure(tmp_path, clips),
        "similar": named(tmp_path, bow=["sit down"], sit_down=["bow", "wave"]),
    }
    pairs = rows(mine.run(mine.MineConfig(ACTIONS), tmp_path, **evidence))
    told = {pair["action"]: pair["evidence"] for pair in pairs}
    assert told == {"bow": "student, kinematics, teacher", "sit down": "teacher", "wave": "student, kinematics"}
    (sat,) = (pair for pair in pairs if (pair["action"], pair["confused_with"]) == ("sit down", "bow"))
    assert (sat["score"], sat["teacher"], sat["student"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3), None)
    for left_out in evidence:
        fewer = mine.run(mine.MineConfig(ACTIONS), tmp_path, **{**evidence, left_out: None})
        before = {(pair["action"], pair["confused_with"]): pair["score"] for pair in rows(fewer)}
        after = {(pair["action"], pair["confused_with"]): pair["score"] for pair in pairs}
        assert all(after[pair] >= score - 1e-9 for pair, score in before.items())
    unheard = mine.MineConfig(ACTIONS, weights=Weights(teacher=0.0))
    assert {pair["action"] for pair in rows(mine.run(unheard, tmp_path, **evidence))} == {"bow", "wave"}


def test_evidence_from_elsewhere_than_training_is_refused(tmp_path, clips, checkpoint):
    config = mine.MineConfig(ACTIONS)
    for splits in (("test",), ("train", "test"), ("cross_format",)):
        with pytest.raises(DataError, match="from training clips alone"):
            mine.run(config, tmp_path, ask(tmp_path, clips, checkpoint, *splits))
    unseen = measure(tmp_path, clips, (*ACTIONS, "kick"))
    with pytest.raises(DataError, match="kick"):
        mine.run(config, tmp_path, motion=unseen)
    with pytest.raises(DataError, match="'kick', which is no action of training"):
        mine.run(config, tmp_path, similar=named(tmp_path, bow=["kick"]))


def test_no_evidence_is_one_clear_error(tmp_path, clips, checkpoint):
    nothing = write_dataset(tmp_path, "motion", pa.Table.from_pylist([], schema=MOTION))
    with pytest.raises(DataError, match="are there labelled training clips"):
        mine.run(mine.MineConfig(ACTIONS), tmp_path, motion=nothing)
    held_out = to_plain(Protocol("subject", ("P001", "P002")))
    asked = predict.PredictConfig(("train",), ACTIONS, held_out)
    with pytest.raises(DataError, match="no predictions to mine"):
        mine.run(mine.MineConfig(ACTIONS), tmp_path, predict.run(clips, checkpoint, asked, tmp_path))
    with pytest.raises(ConfigError, match="no evidence is given"):
        mine.run(mine.MineConfig(ACTIONS), tmp_path)


def test_who_is_asked_by_default_depends_on_whether_a_teacher_is_set(monkeypatch):
    monkeypatch.delenv("SKELETONLLM_TEACHER_MODEL", raising=False)
    assert mine.kinds_of(None) == ("student", "kinematics")
    assert mine.kinds_of(["kinematics"]) == ("kinematics",)
    with pytest.raises(ConfigError, match="no teacher is set; name a model in SKELETONLLM_TEACHER_MODEL"):
        mine.kinds_of(["teacher"])
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "m")
    assert mine.kinds_of(None) == ("student", "kinematics", "teacher")
    assert mine.kinds_of(["teacher", "student"]) == ("student", "teacher")
    for asked, said in ((["gossip"], "no 'gossip'; there are student, kinematics, teacher"), ([], "none is named")):
        with pytest.raises(ConfigError, match=said):
            mine.kinds_of(asked)


def test_a_checkpoint_that_is_gone_is_one_clear_error(tmp_path, clips):
    gone = CheckpointRef("render_warmup", str(tmp_path / "gone"), "c" * 64)
    with pytest.raises(CheckpointError, match="gone: cannot be read"):
        ask(tmp_path, clips, gone, "train")
