"""One self-contained `chains.html`: who taught, what became of the clips, and chains beside their pictures."""

from dataclasses import dataclass, field
from importlib.resources import files

from skeletonllm.evaluate.report.data import ShownChain
from skeletonllm.evaluate.report.page import page_environment


@dataclass(frozen=True)
class ActionVerdicts:
    """What became of the clips of an action that the teacher was asked about."""

    action: str
    accepted: int = 0
    rejected: int = 0
    without: int = 0
    """No chain at all: the reply was none, or there was no reply."""

    @property
    def asked(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.without


@dataclass(frozen=True)
class DrawnChain:
    """A chain beside its clip.

    Args:
        chain: with each step's verdict.
        about: where the clip comes from.
        strip: WebP of frames from the middles of equal parts of the clip, side by side.
        frames: their numbers in the clip.
        num_frames: of the clip.
    """

    chain: ShownChain
    about: str
    strip: bytes
    frames: tuple[int, ...]
    num_frames: int


@dataclass(frozen=True)
class ChainsPage:
    """All that the page shows.

    Args:
        teacher: who spoke.
        facts: about the run, name and value.
        actions: verdicts of each action.
        steps: claims by verdict.
        reasons: why chains were rejected, or why there is none, with how often.
        chains: some, drawn.
    """

    teacher: str
    facts: tuple[tuple[str, str], ...]
    actions: tuple[ActionVerdicts, ...]
    steps: dict[str, int] = field(default_factory=dict)
    reasons: tuple[tuple[str, int], ...] = ()
    chains: tuple[DrawnChain, ...] = ()

    @property
    def total(self) -> ActionVerdicts:
        """Of all actions together."""
        columns = zip(*((one.accepted, one.rejected, one.without) for one in self.actions), strict=True)
        return ActionVerdicts("all", *(sum(column) for column in columns))


def render_chains(page: ChainsPage) -> str:
    """The page as text. Every label, id and claim in it is data and is escaped."""
    style = (files("skeletonllm.evaluate.report") / "style.css").read_text("utf-8")
    return page_environment("webp").get_template("chains.html").render(page=page, total=page.total, style=style)
