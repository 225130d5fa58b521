"""Prompts that a test may edit: copies of the files, in a folder of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from skeletonllm.reasoning.prompts import template


@contextmanager
def edited(folder: Path, name: str) -> Iterator[None]:
    """One byte of a prompt is another while the block lasts."""
    copies = shutil.copytree(str(template._FOLDER), folder / f"prompts-{name}")
    path = copies / f"{name}.txt"
    text = path.read_text()
    path.write_text(text[0].swapcase() + text[1:])
    template.read_prompt.cache_clear()
    try:
        with patch.object(template, "_FOLDER", copies):
            yield
    finally:
        template.read_prompt.cache_clear()
