import pytest

from tests.checkpoint_kills import killed_at_point, work
from tests.ranks import run_ranks
from tests.skeletonllm.train.runs import make_run


@pytest.mark.slow
def test_training_killed_while_it_saves_goes_on_and_ends_in_the_same_weights(tmp_path):
    make_run(tmp_path / "data")
    expected = run_ranks(2, work, tmp_path / "data", tmp_path / "whole", 1)[0]
    assert killed_at_point(tmp_path / "data", tmp_path / "killed", "state", 1, expected) == 1
