"""Every prompt, in one place: the words are files of this folder, the functions put a clip's data into them."""

from skeletonllm.reasoning.prompts.pictures import choice_text, picture_messages
from skeletonllm.reasoning.prompts.student import (
    TASKS,
    caption_prompt,
    chain_prompt,
    mqa_prompt,
    question_prompt,
    task_prompt,
    yes_no_prompt,
)
from skeletonllm.reasoning.prompts.teacher import (
    chain_prompt_id,
    fact_text,
    repair_messages,
    teacher_messages,
    teacher_prompt_ids,
)
from skeletonllm.reasoning.prompts.template import as_data, fill_prompt, prompt_id, prompt_ids

__all__ = [
    "TASKS",
    "as_data",
    "caption_prompt",
    "chain_prompt",
    "chain_prompt_id",
    "choice_text",
    "fact_text",
    "fill_prompt",
    "mqa_prompt",
    "picture_messages",
    "prompt_id",
    "prompt_ids",
    "question_prompt",
    "repair_messages",
    "task_prompt",
    "teacher_messages",
    "teacher_prompt_ids",
    "yes_no_prompt",
]
