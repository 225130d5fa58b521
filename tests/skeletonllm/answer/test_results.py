import math
import pickle

import pytest

from skeletonllm.answer.results import Recognition, ranked
from skeletonllm.errors import DataError


def test_candidates_are_ranked_with_probabilities_that_sum_to_one():
    order = ranked(["a", "b", "c"], [-2.0, -1.0, -2.0])
    assert [one.label for one in order] == ["b", "a", "c"]
    assert sum(one.probability for one in order) == pytest.approx(1)
    assert order[0].probability / order[1].probability == pytest.approx(math.e)


def test_scores_far_apart_do_not_overflow():
    assert [one.probability for one in ranked(["a", "b"], [-1e9, 0.0])] == [1.0, 0.0]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error(wrong):
    with pytest.raises(DataError, match="must be finite"):
        ranked(["a", "b"], [0.0, wrong])


def test_a_result_is_plain_data():
    result = Recognition("c", "c.bvh", "b", -1.0, 0.5, ranked(["a", "b"], [-1.0, -1.0]))
    assert pickle.loads(pickle.dumps(result)) == result
    assert result.to_dict()["candidates"][0] == {"label": "a", "score": -1.0, "probability": 0.5}
