import imageio.v3 as iio
import pytest
from PIL import Image

from skeletonllm.cli import main
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.skeleton.simulate import write_sample_data
from tests.makers import performed_clips, write_clips
from tests.students import tiny_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    write_sample_data(root, num_performers=1)
    return root / "ntu"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> DatasetRef:
    return write_clips(tmp_path_factory.mktemp("data"), performed_clips(("bow", "wave", "kick")))


SMALL = ("--size-px", "32")


def one(folder):
    return str(sorted(folder.glob("*.skeleton"))[0])


def test_a_film_is_as_long_as_the_recording_and_a_strip_holds_what_the_model_sees(folder, tmp_path) -> None:
    assert main(["render", one(folder), "-o", str(tmp_path / "a.gif"), *SMALL]) == 0
    assert main(["render", one(folder), "-o", str(tmp_path / "a.mp4"), *SMALL]) == 0
    assert main(["render", one(folder), "-o", str(tmp_path / "a.png"), *SMALL]) == 0
    with Image.open(tmp_path / "a.gif") as image:
        film = image.n_frames
        assert film > 12
    assert len(iio.imread(tmp_path / "a.mp4", plugin="pyav")) == film
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (12 * 32, 32)


@pytest.mark.parametrize("renderer", ["draction", "skeleton_2d", "skeleton_3d_velocity", "jtm"])
def test_every_renderer_can_be_asked_for(folder, tmp_path, renderer) -> None:
    path = tmp_path / "a.png"
    command = ["render", one(folder), "-o", str(path), *SMALL, "--num-frames", "3", "--renderer", renderer]
    assert main(command) == 0
    with Image.open(path) as image:
        assert image.convert("L").getextrema()[1] > 60


def test_a_trained_student_draws_with_its_own_renderer(folder, tmp_path) -> None:
    tiny_student().save_pretrained(tmp_path / "student")
    command = ["render", one(folder), "-o", str(tmp_path / "a.png"), "--checkpoint", str(tmp_path / "student"), *SMALL]
    assert main(command) == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (12 * 32, 32)


def test_a_folder_becomes_one_player_of_several_clips(folder, tmp_path, capsys) -> None:
    assert main(["render", str(folder), "-o", str(tmp_path / "all.html"), *SMALL, "--max-clips", "3"]) == 0
    assert "all.html: 3 clips" in capsys.readouterr().out
    assert (tmp_path / "all.html").read_text().count('"topology":"kinect_v2_25"') == 3


def test_a_folder_of_files_goes_on_where_it_stopped_and_reports_what_cannot_be_read(folder, tmp_path, capsys) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in sorted(folder.glob("*.skeleton"))[:3]:
        (source / path.name).write_bytes(path.read_bytes())
    (source / "bad.skeleton").write_text("not a number")
    command = ["render", str(source), "-o", str(tmp_path / "out"), "--to", "png", *SMALL, "--num-frames", "2"]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "bad.skeleton" in said
    assert "3 files" in said
    pictures = sorted((tmp_path / "out").iterdir())
    assert len(pictures) == 3
    pictures[0].unlink()
    times = [path.stat().st_mtime_ns for path in pictures[1:]]
    assert main(command) == 1
    assert pictures[0].exists()
    assert [path.stat().st_mtime_ns for path in pictures[1:]] == times


def test_a_row_or_an_id_of_a_data_set_is_drawn(dataset, tmp_path, capsys) -> None:
    for choice in (("--index", "1"), ("--clip", "P001-wave")):
        assert main(["render", dataset.path, "-o", str(tmp_path / "a.gif"), *choice, *SMALL, "--num-frames", "2"]) == 0
        assert "P001-wave, wave" in capsys.readouterr().out


def test_of_several_clips_a_film_shows_the_first_and_says_so(dataset, tmp_path, capsys) -> None:
    assert main(["render", dataset.path, "-o", str(tmp_path / "a.gif"), *SMALL, "--num-frames", "2"]) == 0
    assert "P001-bow, bow (the first of 6; --index or --clip picks another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no source"),
        (["EMPTY"], "no recording in it"),
        (["DATA", "-o", "a.gif", "--clip", "nobody"], "nobody"),
        (["DATA", "-o", "a.gif", "--index", "6"], "holds clips 0 to 5"),
        (["FILE", "--clip", "nobody"], "no clip left"),
        (["FILE", "--paper-weights", "none.safetensors", "-o", "a.png"], "none.safetensors: cannot be read"),
    ],
)
def test_a_mistake_is_one_line(folder, dataset, tmp_path, capsys, monkeypatch, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"DATA": dataset.path, "FILE": one(folder), "EMPTY": str(tmp_path / "empty")}
    assert main(["render", *(places.get(word, word) for word in arguments)]) == 2
    assert said in capsys.readouterr().err
