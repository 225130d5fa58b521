"""The student: a renderer in front of a stock multimodal LLM, trained, asked, saved and loaded as one."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from skeletonllm.model.about import About
from skeletonllm.model.adapters import add_adapter, split_parameters
from skeletonllm.model.backbone import Backbone, load_backbone
from skeletonllm.model.config import TINY, StudentConfig
from skeletonllm.model.hub import commit_in_cache
from skeletonllm.model.scoring import rank_shared
from skeletonllm.model.weights import settle
from skeletonllm.render import build_renderer
from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.legibility import illegibility
from skeletonllm.render.renderer import Renderer

PARTS = ("renderer", "projector", "language_adapter")
_IGNORED = -100


class SkeletonLLM(nn.Module):
    """Renderer, backbone and adapter.

    Args:
        config: what it is made of.
        renderer: clips to frames.
        backbone: the model behind it; its adapter is put in here.
    """

    about: About = About()
    """Where it comes from."""
    whole: bool = False
    """Whether its folder holds the backbone's own weights too."""

    def __init__(self, config: StudentConfig, renderer: Renderer, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.renderer = renderer
        self.mllm = backbone.mllm
        self.tokenizer = backbone.tokenizer
        self.bridge = backbone.bridge
        settle(self.mllm)
        add_adapter(self.mllm, config.adapter)
        if config.backbone.gradient_checkpointing:
            self.mllm.activation_checkpointing_enable({"use_reentrant": False})

    @classmethod
    def build(cls, config: StudentConfig, corpus: Sequence[str] = (), seed: int = 0) -> "SkeletonLLM":
        """A new student; `corpus` and `seed` matter where weights or tokenizer are made on the spot."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            renderer = build_renderer(config.render)
            if config.backbone.name == TINY:
                from skeletonllm.model.tiny import build_tiny

                backbone = build_tiny(config.backbone.tiny, config.render.size_px, corpus, seed)
            else:
                backbone = load_backbone(config.backbone)
            student = cls(config, renderer, backbone)
            student.about = About(revision=commit_in_cache(config.backbone.name))
            return student

    def forward(
        self, batch: RenderBatch, prompts: Sequence[str], answers: Sequence[str], weights: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """The loss; DeepSpeed calls the module itself."""
        return self.loss(batch, prompts, answers, weights)

    def loss(
        self, batch: RenderBatch, prompts: Sequence[str], answers: Sequence[str], weights: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the answers' tokens, mean over an example's tokens, then weighted mean over the examples.

        With `render.legibility` above 0 the penalty on frames that cannot be read is added.
        """
        rows = [[*self._ids(answer), self.tokenizer.eos_token_id] for answer in answers]
        frames = self.renderer(batch)
        inputs = self._inputs(frames, prompts, rows)
        keep = max(map(len, rows))
        labels = torch.full((len(rows), keep), _IGNORED, device=inputs["input_ids"].device)
        for place, row in enumerate(rows):
            labels[place, keep - len(row) :] = torch.tensor(row)
        logits = self.mllm(**inputs, use_cache=False, logits_to_keep=keep + 1).logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        tokens = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="none"
        )
        each = tokens.view_as(labels).sum(1) / (labels != _IGNORED).sum(1)
        mean = each.mean() if weights is None else (each * weights).sum() / weights.sum()
        legibility = self.renderer.config.legibility
        return mean + legibility * illegibility(frames) if legibility else mean

    def rank(
        self, batch: RenderBatch, prompts: Sequence[str], candidates: Sequence[str]
    ) -> Float[Tensor, "batch candidates"]:
        """Mean log-likelihood per token, end token included, of each candidate after each prompt."""
        rows = [torch.tensor([*self._ids(text), self.tokenizer.eos_token_id]) for text in candidates]
        with torch.inference_mode():
            inputs = self._inputs(self.renderer(batch), prompts)
            device = inputs["input_ids"].device
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(
                device
            )
            lengths = torch.tensor([len(row) for row in rows], device=device)
            return rank_shared(self.mllm, inputs, ids, lengths)

    def generate(self, batch: RenderBatch, prompts: Sequence[str], max_new_tokens: int = 64) -> list[str]:
        """The most likely answers, word by word."""
        with torch.inference_mode():
            inputs = self._inputs(self.renderer(batch), prompts)
            inputs.pop("position_ids")
            written = self.mllm.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = written[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def named_parts(self) -> dict[str, dict[str, nn.Parameter]]:
        """The weights of each part in `PARTS`, by name."""
        split = split_parameters(self.mllm, self.bridge.projector, self.config.adapter)
        return {"renderer": dict(self.renderer.named_parameters()), **{part: split[part] for part in PARTS[1:]}}

    def set_trainable(self, parts: Collection[str]) -> None:
        """Let the weights of some parts move, and of no other."""
        self.requires_grad_(False)
        for part in parts:
            for weight in self.named_parts()[part].values():
                weight.requires_grad_(True)

    def save_pretrained(self, folder: str | Path, whole: bool = False) -> None:
        """Write everything that `from_pretrained` needs into a folder, which appears whole.

        Args:
            folder: where; a former student there is replaced, anything else is left alone.
            whole: write the backbone's own weights too, instead of its name and commit.

        Raises:
            CheckpointError: it cannot be written.
        """
        from skeletonllm.model.folder import save_student

        save_student(self, Path(folder), whole)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, backbone: str | None = None
    ) -> "SkeletonLLM":
        """The student of a folder that `save_pretrained` wrote, of a checkpoint, or of the Hub.

        Args:
            name: a folder, or OWNER/NAME on the Hub.
            revision: on the Hub: a commit, branch or tag.
            backbone: where the backbone is now, if it was moved.

        Raises:
            CheckpointError: something is missing, damaged, of another version, or cannot be fetched.
        """
        from skeletonllm.model.folder import load_student

        return load_student(name, revision, backbone)

    def push_to_hub(self, name: str, private: bool = False, message: str = "") -> str:
        """Send the student to the Hub, with its card; the token is HF_TOKEN of the environment.

        Args:
            name: OWNER/NAME.
            private: whether a new repository is.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            ConfigError: the name cannot be one on the Hub.
            CheckpointError: there is no token, or the Hub refused.
        """
        from skeletonllm.model.sharing import push_student

        return push_student(self, name, private, message)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _prompt_ids(self, prompt: str, num_frames: int) -> list[int]:
        """One clip, then the question, as the model's chat template has it, or plainly where it has none."""
        if self.tokenizer.chat_template:
            content = [{"type": "video"}, {"type": "text", "text": prompt}]
            messages = [{"role": "user", "content": content}]
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return self._ids(text.replace(self.bridge.marker, self.bridge.expand(num_frames), 1))
        return self._ids(f"{self.bridge.expand(num_frames)}{prompt}\n")

    def _inputs(
        self, frames: Tensor, prompts: Sequence[str], answers: Sequence[Sequence[int]] | None = None
    ) -> dict[str, Tensor]:
        """Left-padded ids, mask, positions and pixels: prompts, each followed by its answer where one is given."""
        rows = [self._prompt_ids(prompt, frames.shape[1]) for prompt in prompts]
        if answers is not None:
            rows = [[*row, *answer] for row, answer in zip(rows, answers, strict=True)]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        ids, mask = ids.to(frames.device), mask.to(frames.device)
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **self.bridge.pack(frames)}


def with_renderer(student: SkeletonLLM, **changes: Any) -> Renderer:
    """The student's renderer with another size or number of frames, for pictures that people look at."""
    renderer = build_renderer(replace(student.renderer.config, **changes))
    renderer.load_state_dict(student.renderer.state_dict())
    return renderer
