import torch

from skeletonllm.model.chat import Chat
from skeletonllm.model.families.bridge import Pixels
from skeletonllm.model.families.internvl import InternVLBridge
from tests.families import family_tokenizer

BRIDGE = InternVLBridge(Pixels((0.0,) * 3, (1.0,) * 3), 32, 2, numbered=False)


def plain_tokenizer(**changes):
    tokenizer = family_tokenizer("internvl3")
    tokenizer.chat_template = None
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def test_without_a_chat_template_the_clip_stands_before_the_question():
    tokenizer = plain_tokenizer()
    text = tokenizer.decode(Chat(tokenizer, BRIDGE).prompt_ids("which?", 2, 32, 32))
    assert text == "<IMG_CONTEXT>" * 4 + "which?\n"


def test_without_a_chat_template_a_text_begins_with_the_token_that_the_model_s_texts_begin_with():
    tokenizer = plain_tokenizer(bos_token="<img>")
    text = tokenizer.decode(Chat(tokenizer, BRIDGE).prompt_ids("which?", 1, 32, 32))
    assert text == "<img><IMG_CONTEXT><IMG_CONTEXT>which?\n"


def test_without_a_chat_template_an_answer_ends_with_the_tokenizer_s_end():
    tokenizer = plain_tokenizer()
    chat = Chat(tokenizer, BRIDGE)
    assert chat.end_id == tokenizer.eos_token_id
    assert chat.answer_ids(["", "wave"]) == [[chat.end_id], [*tokenizer("wave")["input_ids"], chat.end_id]]
    assert chat.answer_ids([]) == []


def test_rows_end_together_and_their_padding_is_masked():
    tokenizer = plain_tokenizer()
    ids, mask = Chat(tokenizer, BRIDGE).left_padded([[5], [6, 7, 8]])
    assert ids.tolist() == [[tokenizer.pad_token_id] * 2 + [5], [6, 7, 8]]
    assert torch.equal(mask, torch.tensor([[0, 0, 1], [1, 1, 1]]))


def test_a_tokenizer_without_a_padding_token_pads_with_the_end():
    tokenizer = plain_tokenizer(pad_token=None)
    chat = Chat(tokenizer, BRIDGE)
    assert chat.pad_id == chat.end_id


def test_what_is_written_is_given_without_marks_and_spaces_around_it():
    tokenizer = family_tokenizer("internvl3")
    ids = tokenizer(" sit down <|im_end|><pad>", add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert Chat(tokenizer, BRIDGE).written(ids) == ["sit down"]
