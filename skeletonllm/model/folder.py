"""A student as a folder: the weights of each part as safetensors, what they are in JSON, and a card for people."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skeletonllm.errors import BackendError, CheckpointError, ConfigError
from skeletonllm.model import hub
from skeletonllm.model.adapters import split_parameters
from skeletonllm.model.backbone import Backbone, load_backbone, make_bridge, read_processor
from skeletonllm.model.card import student_card
from skeletonllm.model.config import TINY, StudentConfig
from skeletonllm.model.settings import write_settings
from skeletonllm.model.stored import (
    CARD,
    STUDENT,
    Stored,
    check_file,
    expected_hash,
    hashes_of,
    read_stored,
    write_stored,
)
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.weights import read_weights, write_weights
from skeletonllm.model.whole import whole_folder
from skeletonllm.render import build_renderer

_FROZEN = "frozen"
BACKBONE = "backbone"
_BACKBONE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


def save_student(student: SkeletonLLM, folder: Path, whole: bool = False) -> None:
    """Write everything that `load_student` needs into a folder, which appears whole; a former student there is replaced.

    Args:
        student: what is saved.
        folder: where.
        whole: write the backbone's own weights too, so that nothing else is needed. Else a backbone from the Hub is named,
            with its commit, and one from a folder with its path; one made on the spot is always written.

    Raises:
        CheckpointError: it cannot be written, or the folder holds something that is no student.
    """
    whole = whole or student.whole or student.config.backbone.name == TINY
    with whole_folder(folder, STUDENT) as temporary:
        for part, weights in student.named_parts().items():
            write_weights(temporary / f"{part}.safetensors", weights)
        if whole:
            write_weights(temporary / f"{_FROZEN}.safetensors", _frozen(student))
            write_settings(student, temporary / BACKBONE)
        stored = Stored(student.config, student.mllm.config.model_type, whole, student.about, hashes_of(temporary))
        counts = {part: _count(weights) for part, weights in student.named_parts().items()}
        (temporary / CARD).write_text(student_card(stored, counts), encoding="utf-8")
        write_stored(temporary, stored)


def load_student(name: str | Path, revision: str | None = None, backbone: str | None = None) -> SkeletonLLM:
    """The student of a folder that `save_student` wrote, of a checkpoint, or of the Hub.

    Args:
        name: a folder, or OWNER/NAME on the Hub.
        revision: on the Hub: a commit, branch or tag.
        backbone: where the backbone is now, if not where it was when the student was saved.

    Raises:
        CheckpointError: something is missing, damaged, of another version, or cannot be fetched; says what to do.
    """
    folder = find_student(name, revision)
    stored = read_stored(folder)
    if backbone and not stored.whole:
        stored = _moved(stored, backbone)
    if stored.whole:
        made = _own_backbone(folder, stored)
    else:
        place = _find_backbone(stored)
        made = _named_backbone(stored, place, folder)
        stored = replace(stored, about=replace(stored.about, revision=hub.commit_of(place) or stored.about.revision))
    student = SkeletonLLM(stored.config, build_renderer(stored.config.render), made)
    student.about, student.whole = stored.about, stored.whole
    groups: dict[str, Mapping[str, Tensor]] = dict(student.named_parts())
    if stored.whole:
        groups[_FROZEN] = _frozen(student)
    for part, weights in groups.items():
        file = f"{part}.safetensors"
        read_weights(folder / file, weights, expected_hash(folder, stored, file))
    return student


def find_student(name: str | Path, revision: str | None = None) -> Path:
    """A student's folder: given as such, or fetched from the Hub without any file that it does not need.

    Raises:
        CheckpointError: it is neither here nor there.
    """
    if not hub.is_hub_name(str(name)):
        return Path(name)
    found = hub.fetch(str(name), [STUDENT], revision)
    if not (found / STUDENT).exists():
        raise CheckpointError(
            f"{name}: is on the Hub, but no student (no {STUDENT}); to train one on it, name it as a recipe's backbone"
        )
    return hub.fetch(str(name), [STUDENT, CARD, *read_stored(found).files], found.name)


def _frozen(student: SkeletonLLM) -> dict[str, Tensor]:
    """All of the backbone that no part holds: weights, and the numbers that are kept beside them."""
    frozen = split_parameters(student.mllm, student.bridge.projector, student.config.adapter)[_FROZEN]
    known = {name for name, _ in student.mllm.named_parameters(remove_duplicate=False)}
    beside = {name: value for name, value in student.mllm.state_dict().items() if name not in known}
    return {**frozen, **beside}


def _count(weights: Mapping[str, Tensor]) -> int:
    return sum(weight.numel() for weight in weights.values())


def _own_backbone(folder: Path, stored: Stored) -> Backbone:
    """The backbone of a folder that has its weights; they are read afterwards, part by part."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    for file in stored.files:
        if file.startswith(f"{BACKBONE}/"):
            check_file(folder, stored, file)
    settings = folder / BACKBONE
    try:
        model_config = AutoConfig.from_pretrained(settings)
        mllm = _empty_model(model_config, stored.config)
        if (settings / "generation_config.json").exists():
            mllm.generation_config = GenerationConfig.from_pretrained(settings)
        tokenizer = AutoTokenizer.from_pretrained(settings)
        return Backbone(mllm, tokenizer, _bridge(model_config, settings, stored.config))
    except Exception as error:  # tokenizers raise bare exceptions
        raise CheckpointError(
            f"{settings}: cannot be read ({error}); copy it again, or train again with this version"
        ) from error


def _empty_model(model_config: Any, config: StudentConfig) -> Any:
    """A model whose weights are about to be read: none is drawn at random."""
    from transformers import AutoModelForImageTextToText
    from transformers.initialization import no_init_weights

    dtype = getattr(torch, config.backbone.dtype)
    with no_init_weights():
        mllm = AutoModelForImageTextToText.from_config(model_config, dtype=dtype)
    mllm.tie_weights()
    return mllm.eval()


def _bridge(model_config: Any, settings: Path, config: StudentConfig) -> Any:
    if config.backbone.name == TINY:
        from skeletonllm.model.tiny import tiny_bridge

        return tiny_bridge(model_config)
    return make_bridge(model_config, read_processor(str(settings)))


def _moved(stored: Stored, backbone: str) -> Stored:
    """The same student with its backbone at another place."""
    config = replace(stored.config, backbone=replace(stored.config.backbone, name=backbone))
    return replace(stored, config=config, about=replace(stored.about, revision=""))


def _find_backbone(stored: Stored) -> Path:
    """The folder of the backbone that a student names; from the Hub, at the commit that the student was trained on."""
    name = stored.config.backbone.name
    return Path(name) if Path(name).is_dir() else hub.fetch(name, _BACKBONE_FILES, stored.about.revision)


def _named_backbone(stored: Stored, place: Path, folder: Path) -> Backbone:
    """The backbone of a student that does not have it inside."""
    check_backbone(place, stored.family)
    try:
        return load_backbone(replace(stored.config.backbone, name=str(place)))
    except (BackendError, ConfigError) as error:
        raise CheckpointError(f"{folder}: its {error}") from error
    except Exception as error:  # safetensors and tokenizers raise exceptions of their own
        raise CheckpointError(
            f"{folder}: its backbone {place} cannot be loaded ({error}); copy the backbone again"
        ) from error


def check_backbone(place: Path, family: str) -> None:
    """Refuse a folder that cannot be the backbone of a student.

    Raises:
        CheckpointError: it has no weights as safetensors, or is of another family.
    """
    import json

    try:
        found = json.loads((place / "config.json").read_text())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{place}: no readable config.json ({error!r}), so it is no backbone; give the folder of a transformers model"
        ) from error
    if found != family:
        raise CheckpointError(
            f"{place}: a backbone of family {found!r}, but the student was trained on one of family {family!r}; "
            "give the one that it was trained on"
        )
    if not any(place.glob("*.safetensors")):
        raise CheckpointError(
            f"{place}: a folder without weights as safetensors (pickled ones are never read); download the backbone again"
        )


def copy_student(source: Path, stored: Stored, folder: Path) -> None:
    """Copy the files of a student, each checked, and write a card that says what `stored` does.

    Args:
        source: the student's folder, a checkpoint's for instance; what belongs to training stays behind.
        stored: what the copy says of itself.
        folder: where it goes.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    counts = {}
    for name in stored.files:
        path = check_file(source, stored, name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
        if "/" not in name and name != f"{_FROZEN}.safetensors":
            counts[path.stem] = _count_stored(path)
    (folder / CARD).write_text(student_card(stored, counts), encoding="utf-8")
    write_stored(folder, stored)


def _count_stored(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())  # noqa: SIM118
