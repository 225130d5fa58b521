"""What requests cost: prices from files, and what a request can take at most before it is sent."""

import base64
import ipaddress
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.teacher.ledger import Bound, Caps
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import ConfigError
from skeletonllm.plain import canonical_json
from skeletonllm.reasoning.chain import CHAIN_SCHEMA

PRICES_FILE = "prices.toml"
_MILLION = 1_000_000
_TILE_PX = 512
# Of all published ways to count pictures the one that gives most.
_LARGEST_PICTURE = (2833, 5667)
# What a server's template may put around each message and each answer.
_TOKENS_AROUND = 16
_SCHEMA_TOKENS = len(canonical_json(CHAIN_SCHEMA))
_NAMES = ("input", "output", "cached", "batch", "picture", "as_of")


@dataclass(frozen=True)
class Price:
    """USD for a million tokens.

    Args:
        input: of the prompt.
        output: of the answer.
        cached: of the prompt, where the server had it in its cache.
        batch: what the Batch API charges of that.
        picture: at most so many tokens a picture, and so many more for each 512 x 512 px of it.
        as_of: when it was looked up.
    """

    input: float
    output: float
    cached: float
    batch: float = 1.0
    picture: tuple[int, int] = _LARGEST_PICTURE
    as_of: str = ""

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, in_batch: bool = False) -> float:
        """USD for so many tokens; the cached ones are part of the prompt's."""
        cached = min(cached_tokens, prompt_tokens)
        whole = (prompt_tokens - cached) * self.input + cached * self.cached + completion_tokens * self.output
        return whole / _MILLION * (self.batch if in_batch else 1.0)


_FREE = Price(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Prices:
    """The prices that are known.

    Args:
        own: from the user's file.
        known: that come with the package.
    """

    own: dict[str, Price]
    known: dict[str, Price]

    @classmethod
    def read(cls, file: Path | None = None) -> "Prices":
        """Those of the package, and of a file of the user's where there is one.

        Raises:
            ConfigError: the file is none of prices.
        """
        return cls({} if file is None else _parse(file.read_text(), str(file)), _packaged())

    def of(self, model: str, base_url: str = "") -> Price | None:
        """A model's price: the user's; nothing on this machine; the package's; None where nobody knows."""
        if model in self.own:
            return self.own[model]
        return _FREE if is_loopback(base_url) else self.known.get(model)

    def check(self, model: str, base_url: str, caps: Caps) -> None:
        """A cap on cost needs a price.

        Raises:
            ConfigError: there is none.
        """
        if caps.max_cost is not None and self.of(model, base_url) is None:
            raise ConfigError(
                f"the price of {model!r} is not known, so --max-cost cannot be kept: add it to {PRICES_FILE} in the work "
                f"folder, as\n[{canonical_json(model)}]\ninput = 1.0    # USD for a million tokens\noutput = 2.0\nor give "
                "--max-tokens instead"
            )

    def bound(self, request: TeacherRequest, in_batch: bool = False) -> Bound:
        """What a request can take at most.

        A token of text has at least one byte, so there are no more tokens than bytes; pictures count by their size, and
        the answer has at most `max_tokens`. Nobody's tokeniser is needed. What is really taken is about a third.

        Raises:
            ConfigError: the answer has no limit.
        """
        room = request.sampling.get("max_tokens")
        if not isinstance(room, int) or room < 1:
            raise ConfigError(
                f"max_tokens is {room!r}, must be a positive whole number: it limits what an answer costs"
            )
        price = self.of(request.model, request.base_url)
        picture = price.picture if price is not None and price is not _FREE else _LARGEST_PICTURE
        tokens = _SCHEMA_TOKENS + _TOKENS_AROUND
        for message in request.messages:
            tokens += _TOKENS_AROUND
            for kind, text in content_parts(message.get("content", "")):
                tokens += len(text.encode(errors="replace")) if kind == "text" else picture_tokens(text, picture)
        return Bound(tokens + room, price.cost(tokens, room, in_batch=in_batch) if price is not None else 0.0)


def picture_tokens(url: str, picture: tuple[int, int]) -> int:
    """At most so many tokens of a PNG in a data URL; what is not one counts as a single tile."""
    head = base64.b64decode(url.partition("base64,")[2][:32] or "")  # up to the size, which comes first in a PNG
    width, height = (int.from_bytes(head[at : at + 4]) for at in (16, 20))
    base, tile = picture
    return base + tile * max(1, math.ceil(width / _TILE_PX) * math.ceil(height / _TILE_PX))


def is_loopback(base_url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def find_prices(folder: Path, named: str = "") -> Path | None:
    """The user's file of prices: the one that is named, else `prices.toml` in the work folder, if there is one.

    Raises:
        ConfigError: the one that is named is not there.
    """
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"SKELETONLLM_PRICES is {named!r}, which is no file")
        return Path(named)
    return folder / PRICES_FILE if (folder / PRICES_FILE).is_file() else None


def content_parts(content: str | Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What a message's content is made of: `text` with its words, `picture` with its URL."""
    if isinstance(content, str):
        yield "text", content
        return
    for part in content:
        if part.get("type") == "image_url":
            yield "picture", part["image_url"]["url"]
        else:
            yield "text", part.get("text", "")


@cache
def _packaged() -> dict[str, Price]:
    return _parse(resources.files("pipelines.teacher").joinpath(PRICES_FILE).read_text(), PRICES_FILE)


def _parse(text: str, where: str) -> dict[str, Price]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: is not TOML ({error})") from error
    return {model: _price(table, f"{where}: [{model}]") for model, table in tables.items()}


def _price(table: Any, where: str) -> Price:
    if not isinstance(table, dict):
        raise ConfigError(f'{where}: is {table!r}, must be a table; put names with dots in quotes, as ["gpt-4.1"]')
    if unknown := sorted(set(table) - set(_NAMES)):
        raise ConfigError(
            f"{where}: {unknown[0]!r} is unknown; known are {', '.join(_NAMES)}; put names with dots in quotes, as "
            '["gpt-4.1"]'
        )
    for name in ("input", "output"):
        if name not in table:
            raise ConfigError(f"{where}: {name} is missing; give USD for a million tokens")
    picture = table.get("picture", _LARGEST_PICTURE)
    numbers = {name: table[name] for name in ("input", "output", "cached", "batch") if name in table}
    for name, value in [*numbers.items(), *(("picture", one) for one in picture)]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{where}: {name} is {value!r}, must be a number, not negative")
    if len(picture) != 2:
        raise ConfigError(f"{where}: picture is {picture!r}, must be two numbers")
    given = {name: float(value) for name, value in numbers.items()}
    given.setdefault("cached", given["input"])
    return Price(**given, picture=(int(picture[0]), int(picture[1])), as_of=str(table.get("as_of", "")))
