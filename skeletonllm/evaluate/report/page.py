"""How our pages are made: from a template, everything escaped, pictures inside."""

import base64
from importlib.resources import files
from typing import TYPE_CHECKING

from skeletonllm.evaluate.report.table import spoken_time

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment(picture: str = "png", package: str = "skeletonllm.evaluate.report") -> "Environment":
    """The environment of a page.

    Args:
        picture: the kind of its pictures, such as `gif`.
        package: where its templates lie.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    here = files(package)
    environment = Environment(
        loader=FunctionLoader(lambda name: (here / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["css"] = lambda share: f"{100 * min(1.0, max(0.0, share)):.2f}%"
    environment.filters["image"] = lambda data: f"data:image/{picture};base64," + base64.b64encode(data).decode()
    environment.filters["time"] = spoken_time
    return environment
