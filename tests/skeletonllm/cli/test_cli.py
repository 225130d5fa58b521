import json
import subprocess
import sys

import pytest
from PIL import Image

from skeletonllm.cli import main
from skeletonllm.skeleton.simulate import FORMATS_WRITTEN, write_sample_data


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, num_performers=1)
    return folder


def recording(sample, name):
    return next(path for path in sorted((sample / name).rglob("*.*")) if path.suffix in SUFFIXES[name])


SUFFIXES = {"ntu": ".skeleton", "nwucla": ".json", "pyskl": ".pkl", "humanml3d": ".npy", "bvh": ".bvh"}


@pytest.mark.parametrize("name", FORMATS_WRITTEN)
def test_a_recording_of_each_format_is_inspected_and_drawn(sample, tmp_path, capsys, name):
    file = recording(sample, name)
    assert main(["inspect", str(file)]) == 0
    assert "fps" in capsys.readouterr().out
    picture = tmp_path / "clip.gif"
    assert main(["render", str(file), "-o", str(picture), "--size-px", "64", "--num-frames", "3"]) == 0
    with Image.open(picture) as image:
        assert image.size == (64, 64)
        assert image.n_frames == 3
        assert image.convert("L").getextrema()[1] > 60  # somebody is on it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "none.bvh"], "none.bvh"),
        (["render", "CLIP", "-o", "clip.bmp"], "cannot write '.bmp'; use .gif, .mp4, .png"),
        (["render", "CLIP", "--index", "7"], "--index is 7, but"),
        (["render", "CLIP", "--checkpoint", "none"], "cannot be read"),
        (["ingest", "none"], "not a folder"),
        (["train", "quickstrat", "--dry-run"], "did you mean 'quickstart'"),
        (["train", "--set", "engine.zero_stages=2", "--dry-run"], "did you mean 'zero_stage'"),
    ],
)
def test_a_user_s_mistake_is_one_line_without_a_traceback_and_exit_code_2(
    sample, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    clip = str(recording(sample, "bvh"))
    assert main([clip if word == "CLIP" else word for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("skeletonllm: ")
    assert said in error
    assert "Traceback" not in error


def test_debug_shows_where_a_mistake_was_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"none\.bvh"):
        main(["inspect", "none.bvh", "--debug"])


def test_ingest_says_what_it_found(sample, tmp_path, capsys):
    assert main(["ingest", str(sample / "nwucla"), "--workdir", str(tmp_path)]) == 0
    assert "14 clips, 0 files rejected" in capsys.readouterr().out


def test_env_and_dry_run_print_and_do_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["env"]) == 0
    assert sys.version.split()[0] in capsys.readouterr().out.splitlines()[0]
    assert main(["train", "internvl3-8b", "--dry-run"]) == 0
    assert '"OpenGVLab/InternVL3-8B-hf"' in capsys.readouterr().out
    assert (
        main(["train", "smoke", "--dry-run", "--set", "engine.num_workers=2", "stages.*.batch_size=4", "--seed", "5"])
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["seed"] == 5
    assert (printed["engine"]["num_workers"], {stage["batch_size"] for stage in printed["stages"]}) == (2, {4})
    assert not list(tmp_path.iterdir())


def test_a_reader_who_has_seen_enough_is_no_mistake():
    command = f"{sys.executable} -m skeletonllm train internvl3-8b --dry-run | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""
