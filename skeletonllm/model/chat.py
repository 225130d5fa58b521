"""A question about a clip, and its answer, as the tokens that a model's chat template makes of them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.model.families.bridge import Bridge

_SAID = "answer"


class Chat:
    """Writes prompts and answers in the words of one model.

    Args:
        tokenizer: of the model.
        bridge: of its family.
    """

    def __init__(self, tokenizer: Any, bridge: Bridge) -> None:
        self._tokenizer = tokenizer
        self._bridge = bridge

    @cached_property
    def end_id(self) -> int:
        """The token that ends an answer: what the chat template sets after one; in Gemma that is not the tokenizer's."""
        if self._tokenizer.chat_template:
            text = self._templated([("user", _SAID), ("assistant", _SAID)], add_generation_prompt=False)
            after = self._ids(text.rpartition(_SAID)[2])
            token = self._tokenizer.added_tokens_decoder.get(after[0]) if after else None
            if token is not None and token.special:
                return after[0]
        return self._tokenizer.eos_token_id

    @property
    def pad_id(self) -> int:
        """What short rows are filled up with; never looked at."""
        pad = self._tokenizer.pad_token_id
        return self.end_id if pad is None else pad

    def answer_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of answers, each with its end."""
        if not texts:
            return []
        return [[*ids, self.end_id] for ids in self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    def prompt_ids(self, prompt: str, num_frames: int, height_px: int, width_px: int) -> list[int]:
        """One clip of so many frames of a size, then the question, as the chat template has it, or plainly without one.

        With no frames there is only the question.

        Raises:
            DataError: the question holds the mark that stands for a clip.
            ConfigError: the chat template leaves no place for a clip.
        """
        marker = self._bridge.marker
        clip = self._bridge.expand(num_frames, height_px, width_px) if num_frames else ""
        if marker in prompt:
            raise DataError(f"the question {prompt[:80]!r} holds {marker!r}, which stands for a clip; leave it out")
        if not self._tokenizer.chat_template:
            return self._ids(f"{self._tokenizer.bos_token or ''}{clip}{prompt}\n")
        text = self._templated([("user", prompt)], add_generation_prompt=True, with_clip=num_frames > 0)
        if not num_frames:
            return self._ids(text)
        if text.count(marker) != 1:
            raise ConfigError(
                f"the model's chat template leaves {text.count(marker)} marks {marker!r} for one clip, must be 1; "
                "use the template of the model's own family"
            )
        return self._ids(text.replace(marker, clip))

    def left_padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask `[rows, longest]` of rows that end together."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        return ids, mask

    def written(self, ids: Tensor) -> list[str]:
        """The texts of generated tokens."""
        return [text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _templated(self, turns: Sequence[tuple[str, str]], add_generation_prompt: bool, with_clip: bool = True) -> str:
        messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        if with_clip:
            messages[0]["content"].insert(0, {"type": self._bridge.media})
        return self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]
