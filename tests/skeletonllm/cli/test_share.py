import pytest

from skeletonllm.cli import main
from tests.skeletonllm.model.backbones import BACKBONES, family_student
from tests.students import tiny_student


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("share")
    family_student(str(BACKBONES["internvl"](place / "backbone"))).save_pretrained(place / "lora")
    tiny_student().save_pretrained(place / "tiny")
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_bytes(b"")
    return place


def test_merge_says_the_largest_difference_and_the_result_can_be_exported_and_pushed(made, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["merge", str(made / "lora"), "-o", str(made / "merged"), "--clips", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 clips answered alike: logits differ by" in said
    assert said.splitlines()[-1] == str(made / "merged")
    assert main(["export", str(made / "merged"), "--to", "hf", "-o", str(made / "plain"), "--clips", "2"]) == 0
    assert "2 clips answered alike" in capsys.readouterr().out
    assert (made / "plain" / "renderer" / "renderer.safetensors").exists()
    assert main(["push", str(made / "merged"), "me/it", "--dry-run", "--licence", "apache-2.0"]) == 0
    said = capsys.readouterr().out
    assert "frozen.safetensors" in said
    assert "license: apache-2.0" in said
    assert "No licence" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["merge", "PLACE/tiny", "-o", "new"], "has no LoRA, and its backbone is inside already"),
        (["merge", "PLACE/lora", "-o", "PLACE/photos"], "holds other things"),
        (["merge", "PLACE/lora", "-o", "new", "--clips", "0"], "--clips is 0"),
        (["merge", "PLACE/backbone", "-o", "new"], "a plain transformers model, not a student"),
        (["merge", "no/body", "-o", "new"], "HF_HUB_OFFLINE is set"),
        (["export", "PLACE/lora", "-o", "PLACE/photos"], "holds other things"),
        (["export", "PLACE/none", "-o", "new"], "no such folder"),
        (["push", "PLACE/lora", "me/it"], "which others do not have; `skeletonllm merge"),
        (["push", "PLACE/tiny", "it"], "must be OWNER/NAME"),
        (["push", "PLACE/tiny", "it", "--dry-run"], "must be OWNER/NAME"),
        (["push", "PLACE/tiny", "me/it"], "no token to write with"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(made, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main([word.replace("PLACE", str(made)) for word in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("skeletonllm: ")
    assert said in error
    assert not list(tmp_path.iterdir())
