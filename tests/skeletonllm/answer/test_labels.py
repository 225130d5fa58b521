import pytest

from skeletonllm.answer.labels import checked_labels, labels_from
from skeletonllm.errors import ConfigError


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "an empty list"),
        (["wave", ""], "'' is no label"),
        (["wave", "  "], "is no label"),
        (["wave", 3], "3 is no label"),
        (["wave", "bow", "Wave"], "'wave' is there 2 times"),
        (["sit  down", "sit down"], "is there 2 times"),
        (None, "none given"),
        (["x" * 500], "at most 200 letters"),
        ([str(number) for number in range(2000)], "at most 1000"),
    ],
)
def test_bad_labels_are_told_in_a_sentence(labels, said):
    with pytest.raises(ConfigError, match=said):
        checked_labels(labels)


def test_the_labels_of_training_are_the_default_and_given_ones_win():
    assert checked_labels(None, ("wave", "bow")) == ("wave", "bow")
    assert checked_labels(["kick "], ("wave", "bow")) == ("kick",)


@pytest.mark.parametrize("text", ["wave,sit down, bow", "lines", "json"])
def test_the_option_takes_a_list_and_files(text, tmp_path):
    (tmp_path / "lines").write_text("wave\n\nsit down\nbow\n")
    (tmp_path / "json").write_text('["wave", "sit down", "bow"]')
    given = text if "," in text else str(tmp_path / text)
    assert labels_from(given) == ("wave", "sit down", "bow")


@pytest.mark.parametrize(("content", "said"), [("[1", "cannot be read"), ("", "empty list"), ("[[1]]", "no label")])
def test_a_bad_file_of_labels_is_told(content, said, tmp_path):
    (tmp_path / "labels.txt").write_text(content)
    with pytest.raises(ConfigError, match=said):
        labels_from(str(tmp_path / "labels.txt"))


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="no such file"):
        labels_from("nowhere/labels.txt")
