"""The script that draws pictures for people runs, with and without recordings."""

import sys

import pytest

from skeletonllm.skeleton.simulate import write_sample_data
from tests import figures
from tests.students import tiny_student


@pytest.mark.slow
def test_every_picture_for_people_is_drawn(tmp_path, monkeypatch, capsys) -> None:
    from PIL import Image

    write_sample_data(tmp_path / "data" / "made", num_performers=1)
    monkeypatch.setattr(figures, "_FRAME_PX", 48)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["figures", "--out", str(out), "--data", str(tmp_path / "data")])
    figures.main()
    assert {path.name for path in out.iterdir()} == {
        f"{name}.png" for name in ("formats", "thinning", "kick", "wave", "push")
    }
    with Image.open(out / "formats.png") as sheet:
        height = sheet.height
    assert height == 50 * int(capsys.readouterr().out.split("formats.png: ")[1].split()[0]) > 50
    tiny_student().save_pretrained(tmp_path / "student")
    asked = {"--out": "again", "--data": "nothing", "--student": "student"}
    words = [word for name, folder in asked.items() for word in (name, str(tmp_path / folder))]
    monkeypatch.setattr(sys, "argv", ["figures", *words])
    figures.main()
    said = capsys.readouterr().out
    assert "no recordings" in said
    assert "kick.png: 5 rows" in said
