import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.train.config import StageConfig
from skeletonllm.train.data import StageData
from tests.makers import make_clip, write_clips, write_dataset


def write_stage(root, num_examples=10, prompts=("?",)):
    """A clip data set and an example data set that speaks of it."""
    clips = [make_clip(f"c{i}", seed=i, num_frames=4) for i in range(num_examples)]
    rows = [
        {"example_id": c.clip_id, "clip_id": c.clip_id, "stage": "s", "target": c.clip_id, "weight": 1.0}
        | {"prompt": prompts[i % len(prompts)]}
        for i, c in enumerate(clips)
    ]
    return write_clips(root, clips), write_dataset(root, "examples", pa.Table.from_pylist(rows, schema=EXAMPLES))


def config(batch_size, epochs=100.0, **settings):
    return StageConfig("s", ("renderer",), ("mqa",), batch_size=batch_size, epochs=epochs, **settings)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return write_stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """60 examples, each third one asked ten times as long as the others."""
    return write_stage(tmp_path_factory.mktemp("uneven"), 60, ("?" * 50, "?" * 5, "?" * 4))


def test_an_epoch_shows_every_example_once(stage):
    data = StageData(*stage, config(5), seed=0)
    assert sorted(data.rows(0) + data.rows(1)) == list(range(10))
    assert sorted(data.rows(2) + data.rows(3)) == list(range(10))
    assert data.rows(0) + data.rows(1) != data.rows(2) + data.rows(3)


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(0, 3))
def test_a_step_is_the_same_after_any_restart_and_for_any_number_of_ranks(stage, step, seed):
    data, restarted = (StageData(*stage, config(12), seed=seed) for _ in range(2))
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
    (batch,) = StageData(*stage, config(4), seed=1).batches(0)
    assert [clip.clip_id for clip in batch.clips] == list(batch.targets)


def test_accumulation_cuts_the_batch_and_leaves_nothing_out(stage):
    data = StageData(*stage, config(8), seed=1)
    parts = data.batches(0, rank=1, world_size=2, accumulation=2)
    assert [len(part.clips) for part in parts] == [2, 2]


def test_a_batch_that_cannot_be_divided_is_refused(stage):
    with pytest.raises(ConfigError, match="stage s: batch_size 8 cannot be divided by 3 workers x 1"):
        StageData(*stage, config(8), seed=1).batches(0, 0, 3)


def test_steps_follow_from_epochs(stage):
    wanted = config(5, 1.0), config(5, 2.5), config(5, 0.01), config(5, 9.0, max_steps=3)
    assert [StageData(*stage, each, seed=0).num_steps for each in wanted] == [2, 5, 1, 3]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 3))
def test_grouped_by_length_a_run_still_shows_every_example_as_often_as_it_has_epochs(uneven, group, epochs, seed):
    data = StageData(*uneven, config(5, float(epochs), group_by_length=group), seed)
    shown = [row for step in range(data.num_steps) for row in data.rows(step)]
    assert sorted(shown) == sorted(list(range(60)) * epochs)


def test_grouped_by_length_most_batches_are_of_one_length_and_short_ones_do_not_come_first(uneven):
    def longest_of(group):
        data = StageData(*uneven, config(5, 20.0, group_by_length=group), seed=0)
        return [[len(prompt) for prompt in data.batches(step)[0].prompts] for step in range(data.num_steps)]

    def padded(batches):
        return sum(max(batch) * len(batch) for batch in batches) / sum(map(sum, batches))

    assert padded(longest_of(1)) > 2
    assert padded(longest_of(12)) < 1.2
    firsts = [batch[0] > 40 for batch in longest_of(12)[::12]]
    assert 0 < sum(firsts) < len(firsts)


@given(st.integers(0, 40), st.lists(st.integers(0, 30), max_size=3, unique=True))
def test_grouped_by_length_what_is_skipped_is_left_out_and_nothing_else(uneven, step, skipped):
    whole, cut = (StageData(*uneven, config(5, 3.0, group_by_length=4), seed=0) for _ in range(2))
    cut.skip([5 * each for each in skipped])
    left = [each for each in range(60) if each not in skipped]
    assert cut.rows(step) == whole.rows(left[step])


@given(st.integers(0, 40), st.lists(st.integers(0, 30), max_size=3, unique=True), st.integers(0, 30))
def test_what_was_saved_after_something_that_is_skipped_now_was_learnt_is_told_from_the_rest(
    uneven, step, skipped, later
):
    data = StageData(*uneven, config(5), seed=0)
    data.skip([5 * each for each in skipped])
    saved = data.start(step)
    # Before a skipped batch or behind it: a run that stands there goes on right behind what it has seen.
    assert data.stands(step, saved)
    assert data.stands(step, saved - 5) == (saved - 5 in [5 * each for each in skipped])
    data.skip([5 * later])
    assert data.stands(step, saved) == (5 * later >= saved or later in skipped)


def test_micro_batches_hold_examples_of_like_length_and_every_rank_has_its_share(uneven):
    data = StageData(*uneven, config(12), seed=0)
    shares = [data.batches(0, rank, 2, accumulation=3) for rank in range(2)]
    assert sorted(p for share in shares for batch in share for p in batch.places) == list(range(12))
    lengths = [[len(prompt) for share in shares for prompt in share[micro].prompts] for micro in range(3)]
    assert max(lengths[0]) <= min(lengths[1])
    assert max(lengths[1]) <= min(lengths[2])


def test_a_stage_without_examples_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no training examples"):
        StageData(*write_stage(tmp_path, 0), config(1), seed=0)
