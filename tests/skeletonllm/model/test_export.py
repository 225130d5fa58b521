import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import CheckpointError
from skeletonllm.model import export
from skeletonllm.model.export import export_student, load_renderer
from skeletonllm.model.sameness import check_clips, first_logits, inputs_of
from tests.makers import make_clip
from tests.skeletonllm.model.backbones import KINDS, student_of

# Run where our package cannot be imported.
_PLAIN = """
import sys, torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer
assert not [name for name in sys.modules if name.startswith("skeletonllm")]
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
asked = load_file(sys.argv[2])
expected = asked.pop("expected")
with torch.inference_mode():
    found = model(**asked, use_cache=False, logits_to_keep=1).logits[0, -1]
print("difference", float((found - expected).abs().max()), "of", float(expected.abs().max()))
print("template", bool(tokenizer.chat_template))
"""


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    student = student_of(request.param, place / "backbone")
    student.save_pretrained(place / "student")
    found = export_student(place / "student", place / "plain", num_clips=2)
    return student, place / "plain", found


@pytest.mark.slow
def test_the_checkpoint_gives_the_same_logits_through_plain_transformers(exported, tmp_path):
    from safetensors.torch import save_file

    student, folder, found = exported
    assert found.logits <= found.allowed
    inputs = inputs_of(student, check_clips(1, seed=3)[0])
    save_file({**inputs, "expected": first_logits(student.mllm, inputs)}, tmp_path / "asked.safetensors")
    command = [sys.executable, "-I", "-W", "ignore", "-c", _PLAIN, str(folder), str(tmp_path / "asked.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert float(words[1]) <= 1e-4 * float(words[3])
    assert words[-1] == str(bool(student.tokenizer.chat_template))
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert len(processor["image_mean"]) == 3


def test_the_renderer_beside_it_draws_the_same_frames(exported):
    student, folder, _ = exported
    renderer = load_renderer(folder / "renderer")
    batch = student.renderer.collate([make_clip()])
    with torch.inference_mode():
        assert torch.equal(renderer(batch), student.renderer(batch))


def test_the_card_says_how_to_use_it_without_us(exported):
    _, folder, _ = exported
    card = (folder / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "AutoModelForImageTextToText.from_pretrained" in card


def test_the_processor_of_the_model_made_on_the_spot_is_its_bridge():
    from skeletonllm.model.settings import _made_on_the_spot
    from tests.students import tiny_student

    numbers = _made_on_the_spot(tiny_student())
    assert numbers["image_mean"] == [0, 0, 0]
    assert numbers["image_std"] == [0.25, 0.25, 0.25]


def test_a_checkpoint_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    student_of("tiny", tmp_path / "backbone").save_pretrained(tmp_path / "student")
    monkeypatch.setattr(export, "first_logits", lambda mllm, inputs: torch.rand(5))
    with pytest.raises(CheckpointError, match="the answers changed"):
        export_student(tmp_path / "student", tmp_path / "plain", num_clips=1)
    assert not (tmp_path / "plain").exists()


@settings(max_examples=40)
@given(at=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["renderer.json", "renderer.safetensors"]))
def test_a_damaged_renderer_is_one_error(tmp_path_factory, at, name):
    from skeletonllm.model.export import save_renderer
    from tests.students import tiny_student

    folder = tmp_path_factory.mktemp("damaged") / "renderer"
    save_renderer(tiny_student().renderer, folder)
    data = bytearray((folder / name).read_bytes())
    data[int(at * len(data))] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError):
        load_renderer(folder)
    with pytest.raises(CheckpointError, match="give the renderer/ that an export wrote"):
        load_renderer(folder.parent)
