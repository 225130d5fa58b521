"""Who teaches: a model of a server, or nobody but the offline teacher."""

import logging
from dataclasses import replace

from pipelines.settings import Settings
from skeletonllm.answer.address import OPENAI_URL, check_url
from skeletonllm.errors import ConfigError, TeacherError

logger = logging.getLogger(__name__)

KINEMATIC = "kinematic"

_TIMEOUT_S = 20.0
_SHOWN = 20
_NAME_ONE = "name the model in SKELETONLLM_TEACHER_MODEL, or unset OPENAI_BASE_URL for the offline teacher"


def choose_teacher(settings: Settings, teacher: str | None = None, may_ask: bool = True) -> Settings:
    """The settings with the model that teaches; without a model the offline teacher does. Says in the log which it is.

    Args:
        settings: of this process.
        teacher: `kinematic` for the offline one whatever the settings say, else a model instead of theirs.
        may_ask: whether the server may be asked which models it has, where none is named.

    Raises:
        TeacherError: a server is named without a model, and it does not say which it has.
        ConfigError: it has none, or several: the message names them; or its address may not be asked.
    """
    if teacher == KINEMATIC:
        settings = replace(settings, teacher_model="", teacher_url="")
    else:
        settings = _with_model(replace(settings, teacher_model=teacher or settings.teacher_model), may_ask)
    logger.info("the teacher is %s", told_teacher(settings.teacher_model, settings.teacher_url))
    if teacher is None and not settings.teacher_model and settings.teacher_key:
        logger.warning("a key is set, but no model: name one in SKELETONLLM_TEACHER_MODEL to ask it")
    return settings


def told_teacher(model: str, url: str) -> str:
    """Who teaches, in words."""
    return f"{model} at {url or OPENAI_URL}" if model else f"the offline {KINEMATIC} one"


def _with_model(settings: Settings, may_ask: bool) -> Settings:
    if settings.teacher_url:
        check_url(settings.teacher_url, "OPENAI_BASE_URL", settings.rules)  # before it is in any message
    if settings.teacher_model or not settings.teacher_url:
        return settings
    if not may_ask:
        raise ConfigError(
            f"OPENAI_BASE_URL is {settings.teacher_url}, no model is named, and the server may not be asked for one now; "
            f"{_NAME_ONE}"
        )
    names = _served_models(settings)
    if len(names) != 1:
        listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise ConfigError(
            f"OPENAI_BASE_URL is {settings.teacher_url}, which has {len(names)} models ({listed or 'none'}) and must have "
            f"one where none is named; {_NAME_ONE}"
        )
    logger.info("the only model of %s is %s: it is the teacher", settings.teacher_url, names[0])
    return replace(settings, teacher_model=names[0])


def _served_models(settings: Settings) -> list[str]:
    """The names of a server's models, sorted."""
    import openai

    from skeletonllm.answer.connect import connect, without_frames

    client = connect(settings.teacher_url, settings.teacher_key, settings.rules, _TIMEOUT_S)
    try:
        with client:
            return sorted(model.id for model in client.models.list().data)
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise TeacherError(
            f"OPENAI_BASE_URL is {settings.teacher_url}, which does not say which models it has ({error!s:.100}); "
            f"{_NAME_ONE}"
        ) from without_frames(error)
