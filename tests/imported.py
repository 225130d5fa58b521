"""What the ranks of tests have imported before they are forked."""

import tests.conftest  # noqa: F401  its settings come first
from skeletonllm.train import stage  # noqa: F401
from skeletonllm.train.engine import _import_deepspeed
from tests import students  # noqa: F401

_import_deepspeed()
import deepspeed.zero  # noqa: E402, F401
import peft  # noqa: E402, F401
import transformers.models.internvl.modeling_internvl  # noqa: E402, F401
