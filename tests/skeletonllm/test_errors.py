import pickle

import pytest

from skeletonllm import errors

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SkeletonLLMError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_a_worker_boundary(kind):
    error = pickle.loads(pickle.dumps(kind("where: what; what to do")))
    assert type(error) is kind
    assert str(error) == "where: what; what to do"
