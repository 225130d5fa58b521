"""What a model that never saw our frames is asked about a clip."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from skeletonllm.reasoning.prompts.template import fill_prompt


def picture_messages(text: str, pictures: Sequence[bytes], num_persons: int, legend: bool) -> list[dict[str, Any]]:
    """What a model that never saw our frames is asked about one clip.

    Args:
        text: the question.
        pictures: PNG files, evenly spread over the clip.
        num_persons: of the clip.
        legend: whether the colours are those of the designed start, so that they can be explained.
    """
    told = fill_prompt(
        "pictures",
        num_pictures=len(pictures),
        who="a person" if num_persons == 1 else f"{num_persons} persons",
        legend=" " + fill_prompt("legend") if legend else "",
        question=text,
    )
    return [{"role": "user", "content": [{"type": "text", "text": told}, *image_parts(pictures)]}]


def choice_text(labels: Sequence[str]) -> str:
    """Which of these is it, for a model that was not trained to answer with nothing else.

    The labels are given as a JSON list, so that nothing in them reads as an instruction.
    """
    return fill_prompt("choice", labels=json.dumps(list(labels), ensure_ascii=False))


def image_parts(pictures: Sequence[bytes]) -> list[dict[str, Any]]:
    """Pictures as parts of a message."""
    return [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(picture).decode()}}
        for picture in pictures
    ]
