import numpy as np
import pytest
import torch
from PIL import Image

from skeletonllm.errors import BackendError
from skeletonllm.train import metrics
from skeletonllm.train.data import StageData
from skeletonllm.train.metrics import TensorBoard, read_metrics
from skeletonllm.train.pictures import Album, save_sheet, show_first_batch
from skeletonllm.train.stage import run_stage
from tests.skeletonllm.train.runs import make_run
from tests.students import tiny_student


@pytest.fixture
def data(tmp_path) -> StageData:
    run = make_run(tmp_path / "data")
    return StageData(run.clips, run.examples, run.stage, 0)


def pixels_of(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_sheet_has_a_row_for_each_clip_and_large_frames_are_made_small(tmp_path):
    frames = torch.zeros(3, 25, 3, 224, 448)
    frames[1] = 1
    save_sheet(frames, tmp_path / "sheet.png")
    pixels = pixels_of(tmp_path / "sheet.png")
    assert pixels.shape == (3 * 58, 10 * 114, 3)
    assert (pixels[29, 57], pixels[58 + 29, 57], pixels[116 + 29, 57]) == (
        pytest.approx([0, 0, 0]),
        pytest.approx([255] * 3),
        pytest.approx([0, 0, 0]),
    )


def test_what_the_model_is_about_to_see_and_read_is_there_before_the_first_step(data, tmp_path):
    student = tiny_student()
    show_first_batch(student, data, tmp_path)
    batch = data.batches(0)[0]
    text = (tmp_path / "first_batch.txt").read_text()
    assert text.count("\n=> ") == len(batch.clips) == 6
    for clip, target in zip(batch.clips, batch.targets, strict=True):
        assert f"clip {clip.clip_id}, weight 1\n" in text
        assert f"=> {target}" in text
    assert len(pixels_of(tmp_path / "first_batch.png")) % 6 == 0


def test_the_same_clips_are_drawn_at_the_start_after_each_epoch_and_at_the_end(data, tmp_path):
    album = Album(tiny_student(), data, 1, tmp_path)  # 10 examples, one a step: drawn every 25 steps at least
    for step in range(61):
        album.draw(step, step == 60)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"step_{step:06d}.png" for step in (0, 25, 50, 60)]


def test_metrics_tell_where_the_time_goes_and_the_loss_of_each_kind_of_examples(tmp_path, monkeypatch):
    run = make_run(tmp_path / "data", num_steps=2, kind="plain")
    batches = StageData.batches

    def two_kinds(self, *arguments):
        found = batches(self, *arguments)
        for batch in found:
            batch.kinds[:] = ["chain", "mqa", "mqa"] * 2
        return found

    monkeypatch.setattr(StageData, "batches", two_kinds)
    run_stage(run, tmp_path / "run")
    first, second = read_metrics(tmp_path / "run" / "metrics.jsonl")
    parts = [first[f"time/{name}_s"] for name in ("render", "forward", "backward", "optimizer")]
    assert all(seconds > 0 for seconds in parts)
    assert sum(parts) + first["data/wait_s"] <= first["train/step_s"]
    assert second["train/examples_per_s"] == pytest.approx(6 / second["train/step_s"])
    by_kind = (second["train/loss/chain"] + 2 * second["train/loss/mqa"]) / 3
    assert by_kind == pytest.approx(second["train/loss"], rel=1e-5)


def test_tensorboard_that_is_not_there_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"engine.tensorboard is set.*pip install"):
        TensorBoard(tmp_path, 0)


def test_tensorboard_reads_what_was_written_where_it_is_there(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path, 0)
    for step in (1, 2):
        board({"step": step, "train/loss": 1.0 / step})
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [1.0, 0.5]
