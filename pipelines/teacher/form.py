"""The form of a request's body: options that not every server knows, and what is sent in their place."""

from collections.abc import Collection
from typing import Any

from pipelines.teacher.request import TeacherRequest

# The error message of a server that does not know one of these names it.
OPTIONS = ("response_format", "max_tokens", "temperature")


class Form:
    """What one server takes; it is learned from what it refuses. Safe for several threads."""

    def __init__(self) -> None:
        self.unknown: set[str] = set()

    def body(self, request: TeacherRequest) -> dict[str, Any]:
        """Of a chat completion."""
        schema = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": request.schema}}
        options = {**request.sampling, "response_format": schema}
        if "max_tokens" in self.unknown and "max_tokens" in request.sampling:
            options["max_completion_tokens"] = request.sampling["max_tokens"]  # its name with newer OpenAI models
        known = {name: value for name, value in options.items() if name not in self.unknown}
        return {"model": request.model, "messages": list(request.messages), **known}

    def learn(self, said: str, sent: Collection[str] = OPTIONS) -> str | None:
        """Which of the options that were sent a refusal complains about, if any; it is left out from now on."""
        said = said.replace("json_schema", "response_format")
        unknown = next((option for option in OPTIONS if option in sent and option in said), None)
        if unknown is not None:
            self.unknown.add(unknown)
        return unknown
