"""Which joints, when, an answer hangs on: its exact gradient through the renderer, and two tests of what that is worth."""

from skeletonllm.evaluate.saliency.explain import Explanation, explain_answer

__all__ = ["Explanation", "explain_answer"]
