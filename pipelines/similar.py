"""Names of actions -> the teacher -> for each the ones that it holds for most alike. It sees no clip."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.executor import Build, Rejected, ShardOutput, write_table
from pipelines.settings import read_settings
from pipelines.teacher.request import TeacherReply, TeacherRequest
from pipelines.teacher.who import choose_teacher
from skeletonllm.errors import DataError, RequestError
from skeletonllm.plain import digest
from skeletonllm.reasoning.similar import SIMILAR_SCHEMA, SimilarActions, parse_similar, similar_actions_messages
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.schema import SIMILAR

VERSION = 1

Ask = Callable[[TeacherRequest], TeacherReply]

_SAMPLING: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1024}
_AT_ONCE = 8


@dataclass(frozen=True)
class SimilarConfig:
    """Who is asked about which actions."""

    actions: tuple[str, ...]
    model: str
    base_url: str = ""
    count: int = 5
    """So many others are asked for, as in the paper."""


def configure(actions: tuple[str, ...], may_ask: bool = True) -> SimilarConfig:
    """Ask the teacher that the settings name; its server may be asked for its only model, unless `may_ask` is off."""
    settings = choose_teacher(read_settings(), may_ask=may_ask)
    return SimilarConfig(actions, settings.teacher_model, settings.teacher_url)


@contextmanager
def teacher(config: SimilarConfig, ledger: Path) -> Iterator[Ask]:
    """The teacher that is configured; what it is asked and what that costs is kept where that about clips is."""
    from pipelines.teach import open_ledger, prices_of
    from pipelines.teacher.client import OpenAITeacher

    settings = replace(read_settings(), teacher_model=config.model, teacher_url=config.base_url)
    with closing(open_ledger(ledger)) as opened:
        asked = OpenAITeacher(settings, opened, budget="similar", prices=prices_of(ledger))
        with closing(asked):
            yield asked.ask


def run(config: SimilarConfig, root: Path, ask: Ask) -> DatasetRef:
    """Ask once about each action; what was asked before is not asked again.

    Raises:
        TeacherError: the teacher refused, or did not answer; nothing is written.
        DataError: no reply could be used.
    """
    return write_table(build_of(config), root, lambda: _output(config, ask_similar(ask, config)))


def build_of(config: SimilarConfig) -> Build:
    """What `run` builds with the same arguments."""
    asked = digest([request.key for request in requests(config)])
    return Build("similar", "similar", VERSION, {**vars(config), "asked": asked}, [], "similar")


def requests(config: SimilarConfig) -> list[TeacherRequest]:
    """What is asked, action by action."""
    return [
        TeacherRequest(
            config.model,
            tuple(similar_actions_messages(action, config.actions, config.count)),
            _SAMPLING,
            config.base_url,
            schema=SIMILAR_SCHEMA,
        )
        for action in config.actions
    ]


def ask_similar(ask: Ask, config: SimilarConfig) -> list[SimilarActions | DataError | RequestError]:
    """What the teacher says of each action, or why its reply cannot be used."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = zip(requests(config), config.actions, strict=True)
        return list(pool.map(lambda one: _ask(ask, one[0], one[1], config), asked))


def _ask(
    ask: Ask, request: TeacherRequest, action: str, config: SimilarConfig
) -> SimilarActions | DataError | RequestError:
    try:
        return parse_similar(ask(request).text, action, config.actions, config.count)
    except (DataError, RequestError) as error:
        return error


def _output(config: SimilarConfig, answers: Sequence[SimilarActions | DataError | RequestError]) -> ShardOutput:
    rows, rejected, num_unknown = [], [], 0
    for action, answer in zip(config.actions, answers, strict=True):
        if isinstance(answer, Exception):
            rejected.append(Rejected(f"teacher {config.model}", action, str(answer)))
            continue
        num_unknown += answer.num_unknown
        for rank, (name, reason) in enumerate(zip(answer.names, answer.reasons, strict=True), start=1):
            rows.append({"action": action, "similar": name, "rank": rank, "reason": reason, "teacher": config.model})
    statistics = {"asked": len(answers), "named": len(rows), "unknown": num_unknown}
    return ShardOutput(pa.Table.from_pylist(rows, schema=SIMILAR), tuple(rejected), statistics)
