import base64
import io
import json
import re

from PIL import Image

from pipelines.run_summary import markdown_of
from skeletonllm.shards.manifest import CheckpointRef


def write_run(folder, num_pictures=3):
    """A run of two steps, of which the second took three times as long."""
    (folder / "pictures").mkdir(parents=True)
    for place in range(num_pictures):
        Image.new("RGB", (32, 16), (80 * place, 0, 0)).save(folder / "pictures" / f"step_{place:06d}.png")
    rows = [
        {"step": step, "num_steps": 2, "train/loss": 3.0 / step, "train/step_s": seconds, "data/wait_s": 0.1}
        | {"train/examples_per_s": 16 / seconds, "guard/not_taken": 1, "guard/rollbacks": 0}
        for step, seconds in ((1, 1.0), (2, 3.0))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return CheckpointRef("disc_ft", str(folder / "checkpoints" / "step_000002"), "f" * 64)


def test_a_run_is_summed_up_in_numbers_and_in_what_the_renderer_showed_first_and_last(tmp_path):
    text = markdown_of(write_run(tmp_path))
    for line in (
        *("| steps | 2 of 2 |", "| loss | 3.000 -> 1.500 |", "| examples a second | 8.0 |"),
        *("| waits for data | 5.0 % |", "| steps not taken | 1 |", "| went back | 0 |"),
    ):
        assert line in text
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^)]+)\)", text)]
    assert [picture.convert("RGB").getpixel((5, 5))[0] > 100 for picture in pictures] == [False, True]
    assert f"* [metrics.jsonl](file://{tmp_path}/metrics.jsonl)" in text
    assert "first_batch" not in text


def test_a_run_with_one_picture_shows_it_once_and_one_without_any_file_only_says_where_it_is(tmp_path):
    assert markdown_of(write_run(tmp_path / "one", num_pictures=1)).count("base64,") == 1
    nothing = CheckpointRef("disc_ft", str(tmp_path / "none" / "checkpoints" / "step_000002"), "f" * 64)
    assert markdown_of(nothing).strip().endswith("step_000002`")
