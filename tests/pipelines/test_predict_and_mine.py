import pytest

from pipelines import mine, predict
from skeletonllm.errors import CheckpointError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.shards.reader import ShardReader
from tests.makers import performed_clips, write_clips
from tests.students import ACTIONS, tiny_student

PROTOCOL = to_plain(Protocol("subject", ("P002",)))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, performed_clips(("bow", "wave", "kick")))


@pytest.fixture
def checkpoint(tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    return CheckpointRef("render_warmup", str(tmp_path / "student"), "c" * 64)


def ask(root, clips, checkpoint, *splits):
    return predict.run(clips, checkpoint, predict.PredictConfig(splits, ACTIONS, PROTOCOL), root)


def test_clips_of_the_wanted_splits_with_a_known_action_are_asked_about(tmp_path, clips, checkpoint):
    answered = {
        splits: [row["clip_id"] for row in ShardReader(ask(tmp_path, clips, checkpoint, *splits)).table().to_pylist()]
        for splits in (("train",), ("test",), ("train", "test"), ("cross_format",))
    }
    assert answered["train",] == ["P001-bow", "P001-wave"]
    assert answered["test",] == ["P002-bow", "P002-wave"]
    assert answered["train", "test"] == answered["train",] + answered["test",]
    assert answered["cross_format",] == []


def test_mining_gives_every_action_its_strongest_partners(tmp_path, clips, checkpoint):
    predictions = ask(tmp_path, clips, checkpoint, "train")
    pairs = ShardReader(mine.run(predictions, mine.MineConfig(ACTIONS, top_k=1), tmp_path)).table().to_pylist()
    assert [pair["action"] for pair in pairs] == list(ACTIONS)
    assert all(pair["confused_with"] in set(ACTIONS) - {pair["action"]} for pair in pairs)
    with pytest.raises(DataError, match="no predictions to mine"):
        mine.run(ask(tmp_path, clips, checkpoint, "cross_format"), mine.MineConfig(ACTIONS), tmp_path)


def test_a_checkpoint_that_is_gone_is_one_clear_error(tmp_path, clips):
    gone = CheckpointRef("render_warmup", str(tmp_path / "gone"), "c" * 64)
    with pytest.raises(CheckpointError, match="gone: cannot be read"):
        ask(tmp_path, clips, gone, "train")
