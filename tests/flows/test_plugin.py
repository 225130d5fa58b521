import asyncio
import logging

from flows.plugin import accept_one_word, let_our_lines_through


class Client:
    def read(self, name: str) -> str:
        return name

    async def read_later(self, name: str) -> str:
        return name


def test_one_word_names_the_flow_and_its_deployment():
    read = accept_one_word(Client.read)
    assert read(Client(), "build-teacher-chains") == "build-teacher-chains/build-teacher-chains"
    assert read(Client(), "a/b") == "a/b"


def test_the_asynchronous_client_understands_it_too():
    read = accept_one_word(Client.read_later)
    assert asyncio.run(read(Client(), "evaluate")) == "evaluate/evaluate"


def test_our_lines_are_logged_unless_somebody_has_said_from_which_level(monkeypatch):
    ours, told = logging.getLogger("pipelines"), logging.getLogger("skeletonllm")
    monkeypatch.setattr(ours, "level", logging.NOTSET)
    monkeypatch.setattr(told, "level", logging.ERROR)
    let_our_lines_through()
    assert (ours.level, told.level) == (logging.INFO, logging.ERROR)
