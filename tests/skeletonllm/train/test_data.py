import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.train.data import StageData
from tests.makers import make_clip, write_clips, write_dataset


def write_stage(root, num_examples=10):
    """A clip data set and an example data set that speaks of it."""
    clips = [make_clip(f"c{i}", seed=i, num_frames=4) for i in range(num_examples)]
    rows = [
        {"example_id": c.clip_id, "clip_id": c.clip_id, "stage": "s", "prompt": "?", "target": c.clip_id, "weight": 1.0}
        for c in clips
    ]
    return write_clips(root, clips), write_dataset(root, "examples", pa.Table.from_pylist(rows, schema=EXAMPLES))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return write_stage(tmp_path_factory.mktemp("stage"))


def test_an_epoch_shows_every_example_once(stage):
    data = StageData(*stage, batch_size=5, seed=0)
    assert sorted(data.rows(0) + data.rows(1)) == list(range(10))
    assert sorted(data.rows(2) + data.rows(3)) == list(range(10))
    assert data.rows(0) + data.rows(1) != data.rows(2) + data.rows(3)


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(0, 3))
def test_a_step_is_the_same_after_any_restart_and_for_any_number_of_ranks(stage, step, seed):
    data, restarted = (StageData(*stage, batch_size=12, seed=seed) for _ in range(2))
    for earlier in range(step):
        data.rows(earlier)
    whole = data.rows(step)
    assert restarted.rows(step) == whole
    for world_size in (1, 2, 3, 4, 6):
        shares = [
            [target for batch in data.batches(step, rank, world_size) for target in batch.targets]
            for rank in range(world_size)
        ]
        interleaved = [share[place] for place in range(12 // world_size) for share in shares]
        assert interleaved == [f"c{row}" for row in whole]


def test_a_batch_holds_the_clips_its_examples_speak_of(stage):
    (batch,) = StageData(*stage, batch_size=4, seed=1).batches(0)
    assert [clip.clip_id for clip in batch.clips] == list(batch.targets)


def test_accumulation_cuts_the_batch_and_leaves_nothing_out(stage):
    data = StageData(*stage, batch_size=8, seed=1)
    parts = data.batches(0, rank=1, world_size=2, accumulation=2)
    assert [len(part.clips) for part in parts] == [2, 2]


def test_a_batch_that_cannot_be_divided_is_refused(stage):
    with pytest.raises(ConfigError, match="batch_size 8 cannot be divided by 3 workers x 1"):
        StageData(*stage, batch_size=8, seed=1).batches(0, 0, 3)


def test_steps_follow_from_epochs(stage):
    data = StageData(*stage, batch_size=5, seed=0)
    assert [data.num_steps(1.0), data.num_steps(2.5), data.num_steps(0.01), data.num_steps(9.0, 3)] == [2, 5, 1, 3]


def test_a_stage_without_examples_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no training examples"):
        StageData(*write_stage(tmp_path, 0), batch_size=1, seed=0)
