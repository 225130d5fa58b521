"""The student: a renderer in front of a stock multimodal LLM, trained, asked, saved and loaded as one."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from skeletonllm.answer import student as answer
from skeletonllm.answer.results import Answer, Recognition
from skeletonllm.answer.sources import Asked, Reading, clips_of
from skeletonllm.answer.student import BATCH_SIZE, MAX_NEW_TOKENS
from skeletonllm.errors import ConfigError
from skeletonllm.model.about import About
from skeletonllm.model.adapters import add_adapter, learn_in_float32, split_parameters
from skeletonllm.model.backbone import Backbone, load_backbone
from skeletonllm.model.chat import Chat
from skeletonllm.model.config import TINY, StudentConfig
from skeletonllm.model.foreground import foreground_only, shown_tokens
from skeletonllm.model.hub import commit_in_cache
from skeletonllm.model.scoring import only, rank_shared
from skeletonllm.model.weights import settle
from skeletonllm.render import build_renderer
from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.legibility import illegibility
from skeletonllm.render.renderer import Renderer

logger = logging.getLogger(__name__)
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

    example_losses: Tensor | None = None
    """Of each example in the newest batch that a loss was asked for."""

    def __init__(self, config: StudentConfig, renderer: Renderer, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.renderer = renderer
        self.mllm = backbone.mllm
        self.tokenizer = backbone.tokenizer
        self.bridge = backbone.bridge
        self.chat = Chat(backbone.tokenizer, backbone.bridge)
        settle(self.mllm)
        add_adapter(self.mllm, config.adapter)
        if config.backbone.dtype != "float32":
            learn_in_float32(self.mllm, self.bridge.projector)
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
            _tell_size(config, backbone)
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
        frames = self.renderer(batch)
        loss = self._answer_loss(frames, prompts, answers, weights)
        legibility = self.renderer.config.legibility
        return loss + legibility * illegibility(frames) if legibility else loss

    @property
    def actions(self) -> tuple[str, ...]:
        """That it was trained on, where its folder says so."""
        return self.about.actions

    def frames(self, batch: RenderBatch | Tensor) -> Float[Tensor, "batch frames 3 height width"]:
        """What the backbone sees of clips; pictures in [0, 1], or none at all, pass as they are."""
        return batch if isinstance(batch, Tensor) else self.renderer(batch)

    def num_prompt_tokens(self, prompt: str, num_frames: int) -> int:
        """How many tokens a clip of so many frames and a prompt take together."""
        size = self.config.render.size_px
        return len(self.chat.prompt_ids(prompt, num_frames, size, size))

    def rank(
        self, batch: RenderBatch | Tensor, prompts: Sequence[str], candidates: Sequence[str], calibrated: bool = False
    ) -> Float[Tensor, "batch candidates"]:
        """Mean log-likelihood per token, end token included, of each candidate after each prompt.

        Args:
            batch: the clips, or frames in [0, 1].
            prompts: one for each.
            candidates: different answers.
            calibrated: subtract what the candidate scores after the same prompt and frames that show nothing (all black,
                the renderer's background), so that words that are likely anyway gain nothing from it.

        Raises:
            ConfigError: no candidates, one named twice, or more tokens than the model holds.
        """
        if not candidates or len(set(candidates)) != len(candidates):
            raise ConfigError(
                f"{len(candidates)} candidates, {len(set(candidates))} of them different; give each answer once"
            )
        answers = self.chat.answer_ids(candidates)
        longest = max(map(len, answers))
        with torch.inference_mode():
            frames = self.frames(batch)
            scores = rank_shared(self.mllm, self._inputs(frames, prompts, longest), answers)
            if calibrated:
                alike = list(dict.fromkeys(prompts))
                nothing = torch.zeros_like(frames[:1]).expand(len(alike), *frames.shape[1:])
                expected = rank_shared(self.mllm, self._inputs(nothing, alike, longest), answers)
                scores = scores - expected[[alike.index(prompt) for prompt in prompts]]
            return scores

    def generate(
        self,
        batch: RenderBatch | Tensor,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        candidates: Sequence[str] | None = None,
        repetition_penalty: float = 1.0,
        streamer: Any = None,
    ) -> list[str]:
        """The most likely answers, word by word, each up to its end.

        Args:
            batch: the clips, or frames in [0, 1].
            prompts: one for each.
            max_new_tokens: of an answer; those of the longest candidate where there are any.
            candidates: the only answers that may be written. Greedy: early words decide, `rank` is fairer.
            repetition_penalty: above 1, words that were said become less likely; the paper uses 1.05.
            streamer: is given each batch of tokens, as transformers does it.
        """
        answers = self.chat.answer_ids(candidates or ())
        most = max(map(len, answers)) if answers else max_new_tokens
        with torch.inference_mode():
            inputs = self._inputs(self.frames(batch), prompts, most)
            before = inputs["input_ids"].shape[1]
            written = self.mllm.generate(
                **inputs,
                max_new_tokens=most,
                do_sample=False,
                repetition_penalty=repetition_penalty,
                eos_token_id=self.end_ids(),
                pad_token_id=self.chat.pad_id,
                prefix_allowed_tokens_fn=only(answers, before) if answers else None,
                streamer=streamer,
            )
        return self.chat.written(written[:, before:])

    def end_ids(self) -> list[int]:
        """Every token that ends what the model writes."""
        config = self.mllm.generation_config
        more = config.eos_token_id if config is not None else None
        known = [self.chat.end_id, self.tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])]
        return sorted({token for token in known if token is not None})

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

    def recognize(
        self,
        clips: Asked,
        labels: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
        **reading: Unpack[Reading],
    ) -> list[Recognition]:
        """Which label each clip has: the likeliest, with the scores of all.

        Args:
            clips: a clip, a path, an array of joints, or any number of these; they are read and prepared while the model
                works, and never all at once.
            labels: the candidates; by default the actions that the student was trained on.
            batch_size: clips asked about at once.
            **reading: of paths and arrays, as for `skeletonllm.read`: format, topology, fps, unit, up.

        Raises:
            ConfigError: no labels, an empty one, one twice; an array without fps.
            DataError: a recording is damaged, a clip has one frame, or nobody is seen in it.
        """
        return list(answer.recognize(self, clips_of(clips, reading), labels, batch_size))

    def describe(
        self,
        clips: Asked,
        question: str = "",
        task: str = "",
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **reading: Unpack[Reading],
    ) -> list[Answer]:
        """What the student answers about each clip, in words.

        Args:
            clips: as for `recognize`.
            question: in words; without one a caption is written.
            task: `question`, `caption` or `chain` (reasoning, then a label); by default what the question says.
            batch_size: clips asked about at once.
            max_new_tokens: the longest answer.
            **reading: as for `recognize`.

        Raises:
            ConfigError: an unknown task, or a question that does not go with it; an array without fps.
            DataError: a recording is damaged, a clip has one frame, or nobody is seen in it.
        """
        asked = clips_of(clips, reading)
        return list(answer.describe(self, asked, question, task, batch_size, max_new_tokens))

    def caption(
        self,
        clips: Asked,
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **reading: Unpack[Reading],
    ) -> list[Answer]:
        """A description of each clip; arguments and errors as of `describe`."""
        return self.describe(clips, "", "caption", batch_size, max_new_tokens, **reading)

    def _answer_loss(
        self, frames: Tensor, prompts: Sequence[str], answers: Sequence[str], weights: Tensor | None = None
    ) -> Float[Tensor, ""]:
        rows = self.chat.answer_ids(answers)
        inputs = self._inputs(frames, prompts, answers=rows)
        keep = max(map(len, rows))
        labels = torch.full((len(rows), keep), _IGNORED, device=frames.device)
        for place, row in enumerate(rows):
            labels[place, keep - len(row) :] = torch.tensor(row)
        logits = self.mllm(**inputs, use_cache=False, logits_to_keep=keep + 1).logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        tokens = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="none"
        )
        each = tokens.view_as(labels).sum(1) / (labels != _IGNORED).sum(1)
        self.example_losses = each.detach()
        return each.mean() if weights is None else (each * weights).sum() / weights.sum()

    def _inputs(
        self, frames: Tensor, prompts: Sequence[str], num_more: int = 0, answers: Sequence[Sequence[int]] | None = None
    ) -> dict[str, Tensor]:
        """Left-padded ids, mask, positions and pixels: prompts, each followed by its answer where one is given."""
        _, num_frames, _, height, width = frames.shape
        rows = [self.chat.prompt_ids(prompt, num_frames, height, width) for prompt in prompts]
        if answers is not None:
            rows = [[*row, *answer] for row, answer in zip(rows, answers, strict=True)]
        ids, mask = (part.to(frames.device) for part in self.chat.left_padded(rows))
        self._check_room(ids.shape[1] + num_more, num_frames)
        pixels = self.bridge.pack(frames) if num_frames else {}
        inputs = {"input_ids": ids, "attention_mask": mask, **self.bridge.token_types(ids), **pixels}
        inputs["position_ids"] = self.bridge.positions(self.mllm, inputs)
        least = self.config.backbone.foreground
        if least is None or not num_frames:
            return inputs
        return foreground_only(self.mllm, inputs, shown_tokens(frames, self.bridge, least), self.chat.pad_id)

    def _check_room(self, num_tokens: int, num_frames: int) -> None:
        room = self.mllm.config.get_text_config().max_position_embeddings
        if num_tokens > room:
            raise ConfigError(
                f"{num_frames} frames, question and answer are {num_tokens} tokens, the model holds {room}; "
                "set a smaller render.num_frames or render.size_px, or ask a shorter question"
            )


def _tell_size(config: StudentConfig, backbone: Backbone) -> None:
    drawn = config.render.size_px
    seen = getattr(backbone.bridge, "size_px", drawn)
    if seen != drawn:
        logger.info(
            "frames are drawn with %d px and resized to the %d px that %s sees; render.size_px=%d would draw them sharp",
            drawn,
            seen,
            config.backbone.name,
            seen,
        )


def with_renderer(student: SkeletonLLM, **changes: Any) -> Renderer:
    """The student's renderer with another size or number of frames, for pictures that people look at."""
    renderer = build_renderer(replace(student.renderer.config, **changes))
    renderer.load_state_dict(student.renderer.state_dict())
    return renderer
