import pytest
import torch

from skeletonllm.model.scoring import _portions, named, only, paper_protocol, plant

CPU = torch.device("cpu")
END = 9
ANSWERS = ((1, 2, END), (1, 3, END), (1, 2, 4, END), (END,))


def test_what_answers_begin_with_in_common_stands_in_the_tree_once():
    tree = plant(ANSWERS, CPU)
    assert tree.ids.tolist() == [1, 2, 3, 4]
    assert tree.depth.tolist() == [0, 1, 1, 2]
    assert tree.sees.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]


def test_the_steps_of_an_answer_are_its_tokens_each_after_the_one_before():
    tree = plant(ANSWERS, CPU)
    for answer, taken in zip(ANSWERS, tree.steps, strict=True):
        assert tree.token[taken].tolist() == list(answer)
        before = [int(tree.ids[place - 1]) if place else None for place in tree.after[taken]]
        assert before == [None, *answer[:-1]]


def test_a_single_token_needs_no_tree():
    tree = plant(((END,),), CPU)
    assert (len(tree.ids), tree.token.tolist(), tree.after.tolist()) == (0, [END], [0])


@pytest.mark.parametrize("most", [1, 4, 7, 100])
def test_portions_hold_every_answer_once_and_no_more_tokens_than_they_may(most):
    portions = list(_portions(ANSWERS, most))
    assert sorted(number for some in portions for number in some) == [0, 1, 2, 3]
    assert all(len(some) == 1 or sum(len(ANSWERS[number]) for number in some) <= most for some in portions)


def test_only_what_leads_to_an_answer_may_be_written():
    allowed = only(ANSWERS, num_before=2)
    written = [7, 7]
    assert allowed(0, torch.tensor(written)) == [1, END]
    assert allowed(0, torch.tensor([*written, 1])) == [2, 3]
    assert allowed(0, torch.tensor([*written, 1, 2])) == [4, END]
    assert allowed(0, torch.tensor([*written, 1, 2, END])) == [END]


def test_an_answer_names_what_stands_in_it_letter_case_aside():
    found = named(["The person Waves, then sits down.", ""], ["wave", "sit", "sit down"])
    assert found.tolist() == [[True, True, False], [False, False, False]]
    assert named([], ["wave"]).shape == (0, 1)


def test_the_paper_s_protocol_looks_for_names_in_sixteen_greedy_tokens():
    class Student:
        def generate(self, batch, prompts, max_new_tokens, repetition_penalty):
            assert (max_new_tokens, repetition_penalty) == (16, 1.05)
            return [f"{prompt} wave" for prompt in prompts]

    assert paper_protocol(Student(), None, ["I bow and"], ["bow", "wave", "sit"]).tolist() == [[True, True, False]]
