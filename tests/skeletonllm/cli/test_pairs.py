import io

from rich.console import Console

from skeletonllm.cli.pairs import pairs_table

PAIR = {
    "action": "[bold]wave",
    "confused_with": "bow",
    "score": 0.5,
    "student": 0.25,
    "kinematics": None,
    "teacher": None,
}


def printed(*rows):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(pairs_table(rows))
    return console.export_text()


def test_every_pair_has_a_row_and_only_those_who_spoke_have_a_column():
    text = printed({**PAIR, "mistaken": 3}, {**PAIR, "confused_with": "sit", "mistaken": 0, "score": 0.125})
    assert "student" in text
    assert "kinematics" not in text
    first, second = (line for line in text.splitlines() if "bow" in line or "sit" in line)
    assert [word for word in first.split() if word[0].isalnum() or word[0] == "["] == [
        "[bold]wave",
        "bow",
        "0.50",
        "0.25",
        "3",
    ]
    assert "wave" not in second
    assert "0.12" in second


def test_a_kind_that_did_not_speak_of_an_action_has_a_dash_there():
    text = printed(
        {**PAIR, "mistaken": 3},
        {**PAIR, "action": "sit", "student": None, "mistaken": None, "teacher": 1.0},
    )
    line = next(line for line in text.splitlines() if "sit" in line)
    assert line.count(" - ") == 2
    assert "1.00" in line
    assert "mistaken" not in printed({**PAIR, "student": None, "mistaken": None, "kinematics": 1.0})
