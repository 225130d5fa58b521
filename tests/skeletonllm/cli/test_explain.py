import json

import pytest

from skeletonllm.cli import main
from tests.makers import performed_clips, write_clips
from tests.students import ACTIONS, tiny_student


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    tiny_student().save_pretrained(folder / "student")
    return folder / "student", write_clips(folder, performed_clips(("bow", "wave"))).path


def test_a_page_and_numbers_are_written_and_the_terminal_has_the_summary(made, tmp_path, capsys) -> None:
    student, data = made
    command = ["explain", str(student), data, "--clip", "P001-wave", "-o", str(tmp_path / "a.html")]
    command += ["--json", str(tmp_path / "a.json"), "--random-orders", "2", "--actions", *ACTIONS]
    assert main(command) == 0
    assert "P001-wave (wave)" in capsys.readouterr().out
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "a.json").read_text())["clip_id"] == "P001-wave"


def test_a_name_that_ends_in_png_gets_the_picture(made, tmp_path) -> None:
    student, data = made
    command = ["explain", str(student), data, "-o", str(tmp_path / "a.png"), "--random-orders", "1"]
    assert main([*command, "--actions", *ACTIONS]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["STUDENT", "DATA", "-o", "why.gif"], "end it in .html or .png"),
        (["nowhere", "DATA"], "cannot be read"),
        (["STUDENT", "DATA"], "does not say its candidates"),
        (["STUDENT", "DATA", "--actions", "wave"], "1 candidates; give at least two"),
        (["STUDENT", "DATA", "--actions", *ACTIONS, "--clip", "nobody"], "nobody"),
        (["STUDENT", "DATA", "--actions", *ACTIONS, "--index", "9"], "holds clips 0 to 3"),
        (["STUDENT", "DATA", "--actions", *ACTIONS, "--answer", "wavy"], "did you mean 'wave'"),
    ],
)
def test_a_mistake_is_one_line(made, tmp_path, monkeypatch, capsys, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"STUDENT": str(made[0]), "DATA": made[1]}
    assert main(["explain", *(places.get(word, word) for word in arguments)]) == 2
    assert said in capsys.readouterr().err
