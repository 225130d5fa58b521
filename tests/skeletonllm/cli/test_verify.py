import json

import pytest

from pipelines.teacher.kinematic import write_chain
from skeletonllm.cli import main
from skeletonllm.skeleton.performers import perform
from tests.makers import performed_clips, write_clips

TRUE = "The right hand is raised and swings to and fro."


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    ref = write_clips(folder, performed_clips(("wave", "squat"), ("P001",)))
    return str(folder / "clips" / ref.fingerprint[:12])


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def lines(tmp_path, *rows):
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(file)


def told(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_clause_is_shown_with_what_was_measured(clips, capsys):
    assert main(["verify", clips, "--text", f"{TRUE} The body sinks. It glows."]) == 1
    shown = capsys.readouterr().out
    for word in ("right wrist raises", "right wrist swings", "supported", "contradicted", "not measurable", "glows"):
        assert word in shown


def test_the_exit_code_says_whether_anything_is_contradicted(clips, tmp_path):
    assert main(["verify", clips, "--texts", lines(tmp_path, {"clip": "P001-wave", "text": TRUE})]) == 0
    assert main(["verify", clips, "--texts", lines(tmp_path, {"clip": "P001-squat", "text": TRUE})]) == 1


def test_a_label_that_is_given_away_is_told(clips, tmp_path, capsys):
    row = {"clip": "P001-wave", "text": "The right hand swings to and fro, a greeting.", "label": "wave"}
    assert main(["verify", clips, "--json", "--texts", lines(tmp_path, row)]) == 1
    (report,) = told(capsys)
    assert report["reasons"] == ["the label 'wave' is given away: 'greeting'"]


def test_chains_of_this_project_are_checked_as_a_teachers_are(clips, tmp_path, capsys):
    clip = performed_clips(("wave",), ("P001",))[0]
    chain = write_chain(clip, "wave").to_dict()
    false = {**chain, "steps": [{**step, "side": "left"} for step in chain["steps"]]}
    assert (
        main(["verify", clips, "--json", "--texts", lines(tmp_path, chain, false, {**chain, "answer": "squat"})]) == 1
    )
    right, wrong, mislabelled = told(capsys)
    assert not right["contradicted"]
    assert {claim["verdict"] for claim in right["claims"]} == {"supported"}
    assert "contradicted" in {claim["verdict"] for claim in wrong["claims"]}
    assert "the answer is 'squat'" in mislabelled["reasons"][0]


def test_a_line_about_a_clip_that_is_not_there_is_wrong(clips, tmp_path, capsys):
    assert main(["verify", clips, "--json", "--texts", lines(tmp_path, {"clip": "nobody", "text": TRUE})]) == 1
    assert "no such clip" in told(capsys)[0]["reasons"][0]


def test_a_line_may_name_a_file(tmp_path, capsys):
    from skeletonllm.skeleton.formats import ntu
    from skeletonllm.skeleton.sensors import convert
    from skeletonllm.skeleton.topologies import TOPOLOGIES

    wave = convert(perform("wave", 0, 0, 0, fps=30.0), TOPOLOGIES["kinect_v2_25"])
    ntu.write(wave, tmp_path / "S001C001P001R001A023.skeleton")
    row = {"clip": "S001C001P001R001A023.skeleton", "text": TRUE}
    assert main(["verify", "--texts", lines(tmp_path, row)]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "either --text TEXT or --texts"),
        (("--text", "the hand rises"), "no recording"),
        (("nowhere.bvh", "--text", "the hand rises"), "nowhere.bvh: no such file"),
        (("nowhere.bvh", "--text", " "), "it is empty"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, says, capsys):
    assert main(["verify", *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["not json", "[1]", '{"text": "a"}', '{"clip": "c", "text": 3}', '{"clip": 3, "text": ""}']
)
def test_a_bad_line_is_told_with_its_number(clips, tmp_path, line, capsys):
    good = {"clip": "P001-wave", "text": TRUE}
    assert main(["verify", clips, "--texts", lines(tmp_path, good, line)]) == 2
    assert "line 2" in capsys.readouterr().err
