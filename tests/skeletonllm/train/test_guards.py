import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError
from skeletonllm.train import checkpoint
from skeletonllm.train import stage as stage_module
from skeletonllm.train.guards import GoBack, Guard, Skipped, Stopped, read_skipped, skip
from skeletonllm.train.metrics import read_metrics
from skeletonllm.train.stage import run_stage
from tests.ranks import run_ranks
from tests.skeletonllm.train.runs import make_run, with_zero

NAN = math.nan


def judged(losses, norms=None, before=()) -> list[dict]:
    """The rows of a run of these losses; it ends where the guard wants to go back."""
    guard = Guard(before)
    rows = list(before)
    for step, loss in enumerate(losses, len(rows) + 1):
        rows.append({"step": step, "train/loss": loss, **guard.look(step, loss, norms[step - 1] if norms else 1.0)})
    return rows


def test_one_or_two_steps_that_are_not_numbers_are_counted_and_a_third_goes_back_to_before_the_first():
    assert judged([1.0, NAN, math.inf, 1.0, NAN, 1.0])[-1]["guard/not_taken"] == 3
    assert judged([1.0] * 3, norms=[1.0, math.inf, NAN])[-1]["guard/not_taken"] == 2
    with pytest.raises(GoBack) as wrong:
        judged([1.0, NAN, 1.0, NAN, NAN, math.inf])
    assert (wrong.value.first, wrong.value.last) == (4, 6)


def test_a_spike_is_told_from_noise_only_once_there_are_enough_steps_to_know_the_noise():
    noisy = [1.0 + 0.1 * math.sin(7 * step) for step in range(200)]
    judged(noisy)
    judged([*noisy[:100], 50.0, *noisy[:27]])
    with pytest.raises(GoBack, match="jumps to 50") as wrong:
        judged([*noisy[:150], 50.0])
    assert (wrong.value.first, wrong.value.last) == (150, 151)
    # One outlier in the window hides no other.
    with pytest.raises(GoBack, match="jumps to 2"):
        judged([*noisy[:50], 50.0, *noisy[:128], 2.0])


def test_a_loss_that_hardly_moves_any_more_may_still_move_a_little():
    learnt = [3.0] * 16 + [0.001] * 150
    judged([*learnt, 1.0, 1.5])
    with pytest.raises(GoBack):
        judged([*learnt, 2.5])


losses = st.lists(st.one_of(st.floats(0.1, 5.0), st.just(NAN)), min_size=1, max_size=300)


@given(losses, st.integers(0, 300))
def test_a_run_that_is_taken_up_judges_as_if_it_had_never_stopped(all_losses, cut):
    def outcome(before, rest):
        try:
            return judged(rest, before=before)
        except GoBack as wrong:
            return wrong.args

    straight = outcome((), all_losses)
    try:
        first = judged(all_losses[:cut])
    except GoBack:
        return
    assert repr(outcome(first, all_losses[cut:])) == repr(straight)


def test_a_run_goes_back_once_to_a_checkpoint_then_it_is_an_error(tmp_path):
    one = Skipped(4, (5, 6, 7), (24, 30, 36), "three steps")
    skip(tmp_path, one, "warmup")
    assert read_skipped(tmp_path) == [one]
    skip(tmp_path, Skipped(8, (9,), (60,), "a spike"), "warmup")
    with pytest.raises(
        ConfigError, match=r"stage warmup: a spike \(steps 6 to 6\), again after .* lower .*skipped.json"
    ):
        skip(tmp_path, Skipped(4, (6,), (42,), "a spike"), "warmup")
    assert len(read_skipped(tmp_path)) == 2


def poisoned(run, folder: Path, places: range, stop=lambda: False) -> list[list[int]]:
    """Train where the examples at these places of the run's order give a loss that is no number; what each step saw."""
    data_class, seen = stage_module.StageData, list[list[int]]()

    class Poisoned(data_class):
        def batches(self, step, *rest):
            found = data_class.batches(self, step, *rest)
            if not rest:  # somebody looks at the first clips
                return found
            starts = self.start(step)
            seen.append([starts + place for batch in found for place in batch.places])
            for batch in found:
                batch.weights[:] = [NAN if starts + p in places else 1.0 for p in batch.places]
            return found

    stage_module.StageData = Poisoned
    try:
        while True:  # as the launcher does, in new processes
            try:
                run_stage(run, folder, stop=stop)
                return seen
            except GoBack:
                continue
    finally:
        stage_module.StageData = data_class


def test_injected_nan_is_gone_back_from_once_and_the_range_is_written_down_and_a_restart_skips_it_too(tmp_path):
    run = make_run(tmp_path, num_steps=8, checkpoint_every=2, kind="plain")
    seen = poisoned(run, tmp_path / "run", range(19, 36))  # of the steps 4, 5 and 6
    assert [numbers[0] for numbers in seen] == [0, 6, 12, 18, 24, 30, 36, 12, 36, 42, 48, 54, 60]  # one is made ahead
    (skipped,) = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert (skipped["back_to"], skipped["steps"], skipped["starts"]) == (2, [4, 5, 6], [18, 24, 30])
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert all(math.isfinite(row["train/loss"]) for row in rows)
    assert rows[-1]["guard/rollbacks"] == 1
    folder, meta = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert (meta.step, meta.next_example) == (8, 66)
    # Whoever takes it up from an earlier step, sees what the others saw.
    for path in (folder,):
        path.rename(path.with_name(".hidden"))
    again = poisoned(run, tmp_path / "run", range(0))
    assert [numbers[0] for numbers in again] == [54, 60]


def test_examples_that_are_no_numbers_wherever_one_goes_end_in_one_clear_error(tmp_path):
    run = make_run(tmp_path, num_steps=12, checkpoint_every=2, kind="plain")
    with pytest.raises(ConfigError, match="again after going back to step 2"):
        poisoned(run, tmp_path / "run", range(12, 999))


def test_a_run_goes_back_to_before_the_first_bad_step_even_where_it_was_saved_since(tmp_path, monkeypatch):
    class Jumpy(Guard):
        def look(self, step, loss, norm):
            if step == 5 and not self._rollbacks:
                raise GoBack(4, 5, "the loss jumps")
            return super().look(step, loss, norm)

    monkeypatch.setattr(stage_module, "Guard", Jumpy)
    run = make_run(tmp_path, num_steps=6, checkpoint_every=2, kind="plain")
    seen = poisoned(run, tmp_path / "run", range(0))
    assert [numbers[0] for numbers in seen] == [0, 6, 12, 18, 24, 30, 12, 30, 36, 42]  # one is made ahead
    (skipped,) = read_skipped(tmp_path / "run")
    assert (skipped.back_to, skipped.steps, skipped.starts) == (2, (4, 5), (18, 24))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 7))


def test_a_single_bad_step_moves_nothing_and_the_run_goes_on(tmp_path):
    run = make_run(tmp_path, num_steps=4, kind="plain")
    poisoned(run, tmp_path / "run", range(7, 8))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["guard/not_taken"] for row in rows] == [0, 1, 1, 1]
    assert not (tmp_path / "run" / "skipped.json").exists()


def poisoned_everywhere(root: Path) -> list[tuple[list[int], list[int]]]:
    found = []
    for zero_stage in range(4):
        folder = root / f"zero-{zero_stage}"
        run = with_zero(make_run(root / "data", num_steps=6, checkpoint_every=2), zero_stage)
        poisoned(run, folder, range(13, 30, 6))  # each time of one rank's examples only
        rows = read_metrics(folder / "metrics.jsonl")
        assert all(math.isfinite(row["train/loss"]) for row in rows)
        found.append(([row["guard/rollbacks"] for row in rows], list(read_skipped(folder)[0].starts)))
    return found


@pytest.mark.slow
def test_under_every_zero_all_ranks_go_back_together_when_one_of_them_sees_no_number(tmp_path):
    make_run(tmp_path / "data")
    for found in run_ranks(2, poisoned_everywhere, tmp_path):
        assert found == [([0, 0, 1, 1, 1, 1], [12, 18, 24])] * 4


def test_a_run_that_is_asked_to_stop_is_saved_and_goes_on_from_there(tmp_path):
    run = make_run(tmp_path, num_steps=5, kind="plain")
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="after step 3 of 5"):
        run_stage(run, tmp_path / "run", stop=lambda: next(asked))
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[1].step == 3
    run_stage(run, tmp_path / "run")
    straight = make_run(tmp_path, num_steps=5, kind="plain")
    run_stage(straight, tmp_path / "straight")
    losses = [
        [row["train/loss"] for row in read_metrics(tmp_path / one / "metrics.jsonl")] for one in ("run", "straight")
    ]
    assert losses[0] == losses[1]
