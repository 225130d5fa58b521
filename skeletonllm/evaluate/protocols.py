"""Which clips train, which test, and which belong to a format that training never sees."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.clip import Source

Split = Literal["train", "test", "cross_format"]
_FIELDS = tuple(field.name for field in fields(Source) if field.name not in ("file", "sha256"))
_SHOWN = 20  # values that an error names


@dataclass(frozen=True)
class Rule:
    """What is held out: some values of a field of the clips' source, or a share of them."""

    field: str
    values: tuple[str, ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class Protocol:
    """The split of a data set.

    Args:
        field: of the clips' source, such as `subject` or `camera`.
        test: values of that field that test.
        cross_format: data sets or formats that neither train nor test, but are asked about at the end.

    Raises:
        ConfigError: the source of a clip has no such field, or nothing tests.
    """

    field: str
    test: tuple[str, ...]
    cross_format: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.field not in _FIELDS:
            raise ConfigError(f"protocol: no field {self.field!r}; there are {', '.join(_FIELDS)}")
        if not self.test:
            raise ConfigError(f"protocol: no {self.field} tests; name at least one")

    @property
    def name(self) -> str:
        """What people call it, such as `subject=P003,P007, never bvh`."""
        never = f", never {','.join(self.cross_format)}" if self.cross_format else ""
        return f"{self.field}={','.join(self.test)}{never}"

    def split_of(self, source: Source) -> Split:
        """Where a clip belongs. The held-out people of a held-out format are not left out: none of it was trained on."""
        if source.dataset in self.cross_format or source.format in self.cross_format:
            return "cross_format"
        return "test" if getattr(source, self.field) in self.test else "train"


def parse_rule(text: str) -> Rule:
    """A rule from `subject=25%`, `camera=3` or `subject=P001,P002`.

    Raises:
        ConfigError: it is not of that form, or there is no such field.
    """
    field, _, wanted = text.partition("=")
    field, wanted = field.strip(), wanted.strip()
    values = tuple(dict.fromkeys(value.strip() for value in wanted.split(",") if value.strip()))
    if field not in _FIELDS or not values:
        raise ConfigError(
            f"hold-out rule {text!r}: must be FIELD=VALUES or FIELD=SHARE%, with a FIELD of {', '.join(_FIELDS)}; "
            "for example subject=25% or camera=3"
        )
    if not wanted.endswith("%"):
        return Rule(field, values)
    try:
        share = float(wanted[:-1]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(f"hold-out rule {text!r}: the share must lie between 0 % and 100 %")
    return Rule(field, share=share)


def hold_out(sources: Sequence[Source], rule: Rule, cross_format: Sequence[str] = (), seed: int = 0) -> Protocol:
    """The protocol that a rule makes of a data set.

    A share takes the values whose hashes come first, so that more clips of known people never move anybody.

    Args:
        sources: of every clip.
        rule: what is held out.
        cross_format: data sets or formats that training must not see.
        seed: another one holds out other values of a share.

    Raises:
        ConfigError: nothing is left to train or to test on, or a value is held out that no clip has; says which values
            there are.
    """
    known = {source.dataset for source in sources} | {source.format for source in sources}
    unknown = sorted(set(cross_format) - known)
    if unknown:
        raise ConfigError(f"cross-format {unknown}: no clip is of it; there are {', '.join(sorted(known))}")
    rest = [s for s in sources if s.dataset not in cross_format and s.format not in cross_format]
    values = sorted({getattr(source, rule.field) for source in rest})
    if rule.share is not None:
        named = sorted((value for value in values if value), key=lambda value: _place(value, seed))
        test = sorted(named[: max(1, round(rule.share * len(named)))])
    else:
        test = sorted(set(rule.values) & set(values))
        if absent := sorted(set(rule.values) - set(values)):
            raise ConfigError(
                f"hold-out by {rule.field}: no clip has {', '.join(absent)}; there are {_listed(values)}; "
                "name others with --hold-out"
            )
    if not test or len(test) == len(values):
        raise ConfigError(
            f"hold-out by {rule.field}: {len(test)} of {len(values)} values would test, some must test and some must "
            f"train; there are {_listed(values)}; choose another rule with --hold-out"
        )
    return Protocol(rule.field, tuple(test), tuple(sorted(cross_format)))


def _place(value: str, seed: int) -> str:
    return hashlib.sha256((f"{seed}:{value}" if seed else value).encode()).hexdigest()


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(value or "(unknown)" for value in values[:_SHOWN])
    return (shown or "none") + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
