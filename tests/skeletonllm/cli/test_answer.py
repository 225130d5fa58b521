import json
import socket
from pathlib import Path

import pytest

from skeletonllm.cli import main
from skeletonllm.skeleton.formats import plain_numpy
from tests.fake_model import FakeModel, pictures_of, text_of
from tests.makers import make_clip, performed_clips, write_clips
from tests.students import ACTIONS, tiny_student

REAL = Path(__file__).parents[4] / "shared" / "data"
LABELS = ["--labels", ",".join(ACTIONS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A student, and a folder of two recordings and a damaged one."""
    folder = tmp_path_factory.mktemp("answer")
    tiny_student().save_pretrained(folder / "student")
    (folder / "recordings").mkdir()
    for clip in performed_clips(("bow", "wave"), ("P001",)):
        plain_numpy.write(clip, folder / "recordings" / f"{clip.clip_id}.npz")
    (folder / "recordings" / "broken.skeleton").write_text("not at all")
    return folder


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_is_recognised_and_a_bad_file_is_told_at_the_end(made, capsys):
    assert main(["recognize", str(made / "recordings"), "--model", str(made / "student"), *LABELS]) == 1
    shown = capsys.readouterr()
    assert "P001-bow" in shown.out
    assert "P001-wave" in shown.out
    assert "left out: broken.skeleton: " in shown.err


def test_json_has_one_object_per_clip_with_all_scores(made, capsys):
    files = [str(made / "recordings" / f"P001-{action}.npz") for action in ("bow", "wave")]
    assert main(["recognize", *files, "-m", str(made / "student"), *LABELS, "--json"]) == 0
    found = lines(capsys)
    assert [one["clip_id"] for one in found] == ["P001-bow", "P001-wave"]
    assert all({one["label"] for one in row["candidates"]} == set(ACTIONS) for row in found)


def test_a_data_set_and_a_file_of_labels_are_taken(made, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("\n".join(ACTIONS))
    data = write_clips(tmp_path, [*performed_clips(), make_clip("still", num_frames=1)]).path
    command = ["recognize", data, "-m", str(made / "student"), "--labels", str(tmp_path / "labels.txt"), "--json"]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4
    assert "still: 1 frame shows no movement" in shown.err


def test_a_student_describes_in_words(made, capsys):
    command = ["describe", str(made / "recordings" / "P001-bow.npz"), "-m", str(made / "student")]
    assert main([*command, "-q", "Which arm is raised?", "--max-new-tokens", "4", "--json"]) == 0
    assert lines(capsys)[0]["question"] == "Which arm is raised?"
    assert main([*command, "--task", "chain", "--max-new-tokens", "4"]) == 0
    assert "P001-bow" in capsys.readouterr().out


def test_any_server_is_asked_with_pictures_drawn_here(made, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush")
    files = [str(made / "recordings" / f"P001-{action}.npz") for action in ("bow", "wave")]
    look = ["--num-frames", "3", "--size-px", "64"]
    with FakeModel(lambda body: "bow" if "Which of these" in text_of(body) else "A person bows.") as fake:
        assert main(["recognize", *files, "-m", fake.name, *LABELS, *look]) == 0
        assert main(["describe", *files, "-m", fake.name, *look, "-q", "What happens?"]) == 0
        command = ["describe", *files[:1], "-m", fake.name, *look, "--renderer", str(made / "student"), "--json"]
        assert main(command) == 0
    shown = capsys.readouterr()
    assert "A person bows." in shown.out
    assert "sk-hush" not in shown.out + shown.err
    assert set(fake.keys) == {"Bearer sk-hush"}
    assert {len(pictures_of(body)) for body in fake.bodies} == {3}
    assert [one for one in fake.bodies if "orange" not in text_of(one)] == fake.bodies[-1:]


def test_the_address_may_be_in_the_environment(made, monkeypatch, capsys):
    with FakeModel(lambda body: "It waves.") as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.name.partition("@")[2])
        assert main(["describe", str(made / "recordings" / "P001-bow.npz"), "-m", "openai:fake", "--frames", "2"]) == 0
    assert "It waves." in capsys.readouterr().out


def test_what_was_answered_before_a_server_failed_is_shown(made, capsys):
    answers = iter(["bow"])
    with FakeModel(lambda body: next(answers)) as fake:  # and then it hangs up
        command = [
            "recognize",
            str(made / "recordings"),
            "-m",
            fake.name,
            *LABELS,
            "--frames",
            "2",
            "--concurrency",
            "1",
        ]
        assert main(command) == 2
    shown = capsys.readouterr()
    assert "P001-bow" in shown.out
    assert "cannot be reached" in shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recognize", "FILE", "-m", "STUDENT"], "labels: none given"),
        (["recognize", "FILE", "-m", "openai:x@http://127.0.0.1:9/v1"], "--labels: none given"),
        (["recognize", "FILE", "-m", "STUDENT", "--labels", "a,,b"], "'' is no label"),
        (["recognize", "FILE", "-m", "STUDENT", "--labels", "a,a"], "is there 2 times"),
        (["recognize", "FILE", "-m", "nowhere", *LABELS], "nowhere: cannot be read: no such folder"),
        (["recognize", "nowhere.bvh", "-m", "STUDENT", *LABELS], "nowhere.bvh: no such file"),
        (["recognize", "-m", "STUDENT", *LABELS], "no file"),
        (["recognize", "FILE", "-m", "STUDENT", *LABELS, "--renderer", "STUDENT"], "--renderer goes with a server"),
        (["recognize", "FILE", "-m", "STUDENT", *LABELS, "--batch-size", "0"], "batch_size is 0"),
        (["describe", "FILE", "-m", "STUDENT", "--task", "question"], "it is empty"),
        (["describe", "FILE", "-m", "STUDENT", "--task", "chain", "-q", "Why?"], "leave the question out"),
        (["describe", "FILE", "-m", "STUDENT", "--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["describe", "FILE", "-m", "openai:@http://h/v1"], "names no model"),
        (["serve", "STUDENT", "--host", "0.0.0.0"], "so a key is needed"),
        (["serve", "STUDENT", "--max-batch", "0"], "--max-batch is 0"),
        (["serve", "STUDENT", "--api-key-file", "nowhere.key"], "nowhere.key: No such file"),
        (["serve", "STUDENT", "--api-key-file", "/dev/null"], "must hold one key"),
        (["serve", "nowhere"], "cannot be read"),
        (["serve", "STUDENT", "--port", "99999"], "--port is 99999, must be 0 to 65535"),
        (["serve", "STUDENT", "--port", "TAKEN"], "cannot be listened at (Address already in use)"),
    ],
)
def test_a_mistake_is_one_sentence(made, monkeypatch, tmp_path, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKELETONLLM_SERVE_KEY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        places = {"STUDENT": str(made / "student"), "FILE": str(made / "recordings" / "P001-bow.npz"), "TAKEN": port}
        assert main([places.get(word, word) for word in arguments]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("skeletonllm: ")
    assert said in shown


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no recordings of people here")
def test_recordings_of_people_are_recognised_and_described(made, capsys):
    from skeletonllm.skeleton.formats import find_recordings

    folders = [REAL / name for name in ("ntu_skeleton", "bandai1", "nwucla", "kinetics_skeleton")]
    files = [str(find_recordings(folder)[0]) for folder in folders if folder.is_dir()]
    assert main(["recognize", *files, "-m", str(made / "student"), *LABELS, "--json"]) == 0
    assert {one["label"] for one in lines(capsys)} <= set(ACTIONS)
    with FakeModel(lambda body: "Somebody moves.") as fake:
        assert main(["describe", *files, "-m", fake.name, "--size-px", "64", "--json"]) == 0
    assert {one["text"] for one in lines(capsys)} == {"Somebody moves."}
