"""What the ranks of tests have imported before they are forked."""

import tests.conftest  # noqa: F401  its settings come first
from skeletonllm.train import stage  # noqa: F401
from skeletonllm.train.engine import _import_deepspeed
from tests import students

_import_deepspeed()
students.tiny_student()  # imports what is only imported when it is needed
