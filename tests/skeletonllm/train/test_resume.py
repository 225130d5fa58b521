"""A whole stage, cut and taken up again, on several ranks under each kind of ZeRO."""

from dataclasses import replace
from pathlib import Path

import pytest

from skeletonllm.train.checkpoint import verify
from skeletonllm.train.metrics import read_metrics
from skeletonllm.train.stage import fingerprint_of, run_stage
from tests.ranks import run_ranks
from tests.skeletonllm.train.runs import Trained, make_run, train, weights, with_zero

ZERO_STAGES = (0, 1, 2, 3)


def straight_and_cut(root: Path) -> dict[int, tuple[Trained, Trained, Trained]]:
    """What one rank sees of eight steps, and of four and four, under each kind of ZeRO."""
    seen = {}
    for zero_stage in ZERO_STAGES:
        run, folder = with_zero(make_run(root / "data"), zero_stage), root / f"zero-{zero_stage}"
        straight = train(run, folder / "straight")
        seen[zero_stage] = (straight, train(run, folder / "cut", until=4), train(run, folder / "cut"))
    return seen


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("resume")
    make_run(root / "data")
    return root


@pytest.mark.slow
def test_four_and_four_steps_are_eight_to_the_last_bit_and_every_zero_learns_the_same(root):
    found = run_ranks(2, straight_and_cut, root)[0]
    for zero_stage, (straight, first, second) in found.items():
        assert len(first.losses) == len(second.losses) == 4
        assert [loss.hex() for loss in first.losses + second.losses] == [loss.hex() for loss in straight.losses]
        assert first.examples + second.examples == straight.examples
        assert weights(second.checkpoint) == weights(straight.checkpoint)
        assert straight.losses == pytest.approx(found[0][0].losses, abs=1e-4), zero_stage
    assert straight.losses[-1] < straight.losses[0]


def without_dropout(root: Path, folder: Path, zero_stage: int, until: int | None) -> Trained:
    return train(with_zero(make_run(root / "data", num_steps=6, checkpoint_every=2), zero_stage), folder, until, 0.0)


@pytest.mark.slow
def test_a_stage_goes_on_with_another_number_of_ranks_and_another_zero(root):
    straight = run_ranks(1, without_dropout, root, root / "alone", 1, None)[0]
    parts = [
        run_ranks(num, without_dropout, root, root / "moved", zero_stage, until)[0]
        for num, zero_stage, until in ((2, 3, 2), (1, 0, 4), (3, 2, None))
    ]
    assert [example for part in parts for example in part.examples] == straight.examples
    assert [loss for part in parts for loss in part.losses] == pytest.approx(straight.losses, abs=1e-3)


def test_a_run_is_the_same_on_more_workers_and_another_one_with_another_batch(root):
    run = make_run(root / "data")
    more = replace(run, engine=replace(run.engine, num_workers=2, zero_stage=3, checkpoint_every=7, keep_best=1))
    assert fingerprint_of(more) == fingerprint_of(run)
    for other in (
        replace(run, engine=replace(run.engine, gradient_clipping=0.5)),
        replace(run, stage=replace(run.stage, batch_size=12)),
        replace(run, seed=2),
    ):
        assert fingerprint_of(other) != fingerprint_of(run)


def test_the_best_checkpoint_of_a_run_is_still_there_in_the_end(root):
    # The highest loss: the first step has it, whatever comes.
    run = make_run(root / "data", 5, checkpoint_every=1, keep_last=2, keep_best=1, best_is="highest", kind="plain")
    run_stage(run, root / "best")
    losses = {row["step"]: row["train/loss"] for row in read_metrics(root / "best" / "metrics.jsonl")}
    best = max(losses, key=losses.__getitem__)
    assert best < 4
    saved = [verify(folder) for folder in sorted((root / "best" / "checkpoints").glob("step_*"))]
    assert [(meta.step, meta.metrics["train/loss"]) for meta in saved] == [(n, losses[n]) for n in (best, 4, 5)]
