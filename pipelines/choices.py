"""What a run was told: recipe, its settings, who tests, seed. A work folder remembers it for later commands."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError
from skeletonllm.plain import from_plain, write_whole
from skeletonllm.recipes import Recipe, get_recipe, with_settings

logger = logging.getLogger(__name__)

_FILE = "choices.json"
_DEFAULT_RECIPE = "quickstart"


@dataclass(frozen=True)
class Choices:
    """A recipe by name, with what was changed of it."""

    recipe_name: str
    hold_out: str
    cross_format: tuple[str, ...]
    seed: int
    settings: tuple[str, ...] = ()
    """Each `PATH=VALUE`, as `with_settings` takes it."""

    @property
    def described(self) -> str:
        """The recipe's name, and what is changed of it."""
        return " ".join([self.recipe_name, *(["with", *self.settings] if self.settings else [])])

    @property
    def recipe(self) -> Recipe:
        """The recipe itself, with these settings."""
        return with_settings(get_recipe(self.recipe_name), self.settings)


def choose(
    workdir: Workdir,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: Sequence[str] | None = None,
    seed: int | None = None,
    settings: Sequence[str] | None = None,
) -> Choices:
    """What is given; else what the work folder remembers; else the recipe's own.

    Settings are remembered for one recipe; what is given is added to them, and an empty list takes them back.

    Raises:
        ConfigError: no such recipe or setting, or the folder's memory is damaged.
    """
    known = _remembered(workdir.path / _FILE)
    name = recipe or (known.recipe_name if known else _DEFAULT_RECIPE)
    own = get_recipe(name)
    known = known or Choices(name, own.hold_out, (), own.seed)
    before = known.settings if known.recipe_name == name and (settings is None or settings) else ()
    by_path = {setting.partition("=")[0].strip(): setting for setting in (*before, *(settings or ()))}
    choices = Choices(
        recipe_name=name,
        hold_out=hold_out or known.hold_out,
        cross_format=known.cross_format if cross_format is None else tuple(cross_format),
        seed=known.seed if seed is None else seed,
        settings=tuple(by_path.values()),
    )
    try:
        _ = choices.recipe
    except ConfigError as error:
        if not before:
            raise
        raise ConfigError(
            f"{error} (with those that {workdir.path / _FILE} remembers; `--set` alone takes them back)"
        ) from error
    if choices.settings:
        logger.info("recipe %s", choices.described)
    return choices


def remember(workdir: Workdir, choices: Choices) -> None:
    """Let later commands in this work folder take these for granted."""
    write_whole(workdir.path / _FILE, json.dumps(asdict(choices), indent=2) + "\n")


def _remembered(path: Path) -> Choices | None:
    try:
        return from_plain(Choices, json.loads(path.read_text()), str(path))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON ({error}); delete it and say again what it held") from error
