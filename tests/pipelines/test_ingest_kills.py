"""A few of the disturbed runs of `python -m tests.kills`, which does as many as one likes."""

import random
from pathlib import Path

import pytest

from pipelines import ingest
from tests.kills import CONFIG, Kills, check, content, ray_head, run_disturbed, write_source

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> dict[str, str]:
    return content(ingest.run(source, tmp_path_factory.mktemp("undisturbed"), CONFIG))


@pytest.fixture(scope="module")
def environment():
    with ray_head() as environment:
        yield environment


@pytest.mark.parametrize("seed", range(3))
def test_an_ingest_on_a_shared_ray_that_is_killed_at_random_ends_in_the_same_bytes(
    source, expected, environment, tmp_path, seed
):
    check(run_disturbed(source, tmp_path, environment, random.Random(seed), Kills()), expected)


def test_an_ingest_that_is_killed_with_its_own_ray_ends_in_the_same_bytes(source, expected, environment, tmp_path):
    alone = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    check(run_disturbed(source, tmp_path, alone, random.Random(3), Kills()), expected)
