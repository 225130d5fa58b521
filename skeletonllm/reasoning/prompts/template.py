"""A prompt is a file beside this one: its name says who is asked what, the hash of its bytes which version it is."""

import functools
import json
from collections.abc import Iterable
from importlib.resources import files
from string import Template
from typing import Any

from skeletonllm.plain import digest

_FOLDER = files("skeletonllm.reasoning.prompts")
_SHORT = 12


def prompt_id(name: str, schema: dict[str, Any] | None = None) -> str:
    """The version of a prompt: a hash of its file's bytes and of the form that its answer must have.

    Args:
        name: of the file, without `.txt`.
        schema: the JSON schema that goes with it.
    """
    return digest({"text": read_prompt(name), "schema": schema})[:_SHORT]


def prompt_ids(names: Iterable[str], schema: dict[str, Any] | None = None) -> dict[str, str]:
    """The versions of several prompts, by name: what a fingerprint is made of."""
    return {name: prompt_id(name, schema) for name in sorted(names)}


def fill_prompt(name: str, **values: object) -> str:
    """A prompt with its `$names` replaced; what is put in is not looked at for names again."""
    return Template(read_prompt(name).removesuffix("\n")).substitute(values)


@functools.cache
def read_prompt(name: str) -> str:
    """The file as it is."""
    return (_FOLDER / f"{name}.txt").read_bytes().decode("utf-8")


def as_data(value: Any) -> str:
    """What comes from a data set, for a prompt: one line of ASCII JSON that cannot close the marks around it."""
    text = json.dumps(value, ensure_ascii=True)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
