"""SkeletonLLM: any human-skeleton recording, seen by a multimodal LLM through a differentiable renderer."""
