"""What a student is asked. No function here is given the answer, so none can give it away."""

from collections.abc import Sequence

from skeletonllm.errors import ConfigError
from skeletonllm.reasoning.prompts.template import fill_prompt

TASKS = ("question", "caption", "chain")
_LONGEST_QUESTION = 4000


def mqa_prompt(actions: Sequence[str]) -> str:
    """Which of these is it?"""
    return fill_prompt("mqa", actions=", ".join(actions))


def yes_no_prompt(action: str) -> str:
    """Is it this one? (The action asked about is not always the right one.)"""
    return fill_prompt("yes_no", action=action)


def chain_prompt() -> str:
    """Reason first, then answer."""
    return fill_prompt("chain")


def caption_prompt() -> str:
    """Describe it freely."""
    return fill_prompt("caption")


def question_prompt(question: str) -> str:
    """A question in the user's own words, in one line.

    Raises:
        ConfigError: it is empty, or too long to be one.
    """
    asked = " ".join(question.split())
    if not asked:
        raise ConfigError("question: it is empty; ask something, such as 'Which arm is raised?'")
    if len(asked) > _LONGEST_QUESTION:
        raise ConfigError(f"question: {len(asked)} letters; ask in at most {_LONGEST_QUESTION}")
    return asked


def task_prompt(task: str = "", question: str = "") -> str:
    """The prompt of a task that is answered in words.

    Args:
        task: one of `TASKS`; by default `question` where one is given, else `caption`.
        question: of the task `question`.

    Raises:
        ConfigError: an unknown task, a question for a task that has its own, or none for the one that needs it.
    """
    chosen = task or ("question" if question else "caption")
    if chosen not in TASKS:
        raise ConfigError(f"task {chosen!r} is unknown; known are {', '.join(TASKS)}")
    if chosen == "question":
        return question_prompt(question)
    if question:
        raise ConfigError(f"task {chosen!r} asks in its own words; leave the question out, or take the task 'question'")
    return caption_prompt() if chosen == "caption" else chain_prompt()
