import pytest

from skeletonllm.reasoning.leak import leaked_words, stem


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("she is waving", "wave"),
        ("The hand waves.", "wave"),
        ("sitting on a chair", "sit down"),
        ("somebody picks it up", "pick up"),
        ("raises the hand", "raise hand"),
        ("a hand is raised", "raise hand"),
        ("CLAPPING", "clap"),
        ("it threw the ball", "throw"),
        ("a man who squatted", "squat"),
        ("waves a hand", "hand waving"),
        ("carrying something", "carry"),
        ("he drank it", "drink water"),
        ("steps up", "step up"),
        ("put-on", "put on"),
        ("прыжок вверх", "прыжок"),
    ],
)
def test_the_words_of_an_action_give_it_away_in_any_form(text, action):
    assert leaked_words(text, action)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("the right hand goes up and swings to and fro", "wave"),
        ("the body goes down and stays there", "sit down"),
        ("one foot steps forward, then the body rises", "step up"),
        ("the trunk bends over", "bow"),
        ("the right hand rises", "raise hand"),
        ("both hands go up, then the trunk bends", "pick up"),
        ("the elbow bends", "bow"),
        ("anything", ""),
        ("", "wave"),
    ],
)
def test_words_of_any_movement_give_nothing_away(text, action):
    assert leaked_words(text, action) is None


@pytest.mark.parametrize(
    "forms",
    ["wave waves waving waved", "clap claps clapping clapped", "carry carries carrying carried", "push pushes pushing"],
)
def test_the_forms_of_a_word_have_one_stem(forms):
    assert len({stem(word) for word in forms.split()}) == 1
