"""Which clips train, which test, and which belong to a format that training never sees."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.clip import Source

Split = Literal["train", "test", "cross_format"]
_FIELDS = tuple(field.name for field in fields(Source) if field.name not in ("file", "sha256"))


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
    """

    field: str
    test: tuple[str, ...]
    cross_format: tuple[str, ...] = ()

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
    if field not in _FIELDS or not wanted:
        raise ConfigError(
            f"hold-out rule {text!r}: must be FIELD=VALUES or FIELD=SHARE%, with a FIELD of {', '.join(_FIELDS)}; "
            "for example subject=25% or camera=3"
        )
    if not wanted.endswith("%"):
        return Rule(field, tuple(value.strip() for value in wanted.split(",")))
    try:
        share = float(wanted[:-1]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(f"hold-out rule {text!r}: the share must lie between 0 % and 100 %")
    return Rule(field, share=share)


def hold_out(sources: Sequence[Source], rule: Rule, cross_format: Sequence[str] = ()) -> Protocol:
    """The protocol that a rule makes of a data set.

    A share takes the values whose hashes come first, so that more clips of known people never move anybody.

    Raises:
        ConfigError: nothing is left to train or to test on; says which values there are.
    """
    known = {source.dataset for source in sources} | {source.format for source in sources}
    unknown = sorted(set(cross_format) - known)
    if unknown:
        raise ConfigError(f"cross-format {unknown}: no clip is of it; there are {', '.join(sorted(known))}")
    rest = [s for s in sources if s.dataset not in cross_format and s.format not in cross_format]
    values = sorted({getattr(source, rule.field) for source in rest})
    if rule.share is not None:
        named = sorted((value for value in values if value), key=lambda v: hashlib.sha256(v.encode()).hexdigest())
        test = sorted(named[: max(1, round(rule.share * len(named)))])
    else:
        test = sorted(set(rule.values) & set(values))
    if not test or len(test) == len(values):
        raise ConfigError(
            f"hold-out by {rule.field}: {len(test)} of {len(values)} values would test, some must test and some must "
            f"train; there are {', '.join(values[:20]) or 'none'}; choose another rule with --hold-out"
        )
    return Protocol(rule.field, tuple(test), tuple(sorted(cross_format)))
