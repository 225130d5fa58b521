"""Clouds of Gaussians without colours, and pictures, for tests that change a body and ask what changes."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skeletonllm.render import build_renderer
from skeletonllm.render.batch import RenderBatch, collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud, on_limbs
from skeletonllm.render.renderer import Renderer
from skeletonllm.render.skinning import skin
from skeletonllm.render.turns import joint_turns
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology

TINY = RenderConfig(num_frames=3, size_px=32, gaussians_per_bone=3, backend="reference")


def built(config: RenderConfig = TINY) -> Renderer:
    """A renderer whose weights are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_renderer(config)


def pictures(clips: list[Clip], config: RenderConfig = TINY) -> Tensor:
    """Frames of clips, by a renderer as it is before training."""
    renderer = built(config)
    with torch.no_grad():
        return renderer(renderer.collate(clips))


def placed(batch: RenderBatch, topology: Topology, joints: Tensor) -> RenderBatch:
    """The batch with other places of the joints of one person, and the turns that follow from them."""
    turns = joint_turns(joints.numpy(), batch.confidence.numpy(), topology)
    return replace(batch, joints=joints, turns=torch.from_numpy(turns))


def cloud_of(batch: RenderBatch, offsets: Tensor | None = None, thickness_m: float = 0.035) -> GaussianCloud:
    """Gaussians without colours."""
    limbs = skin(batch, offsets)
    shape = limbs.confidence.shape
    return on_limbs(
        limbs, torch.full(shape, thickness_m), torch.full(shape, 0.9), torch.ones(*shape, 3), TINY.gaussians_per_bone
    )


def covariances(cloud: GaussianCloud) -> Tensor:
    """`[..., 3, 3]`, metres²."""
    across, along = cloud.scale_across.square(), cloud.scale_along.square()
    outer = cloud.axes[..., None] * cloud.axes[..., None, :]
    return across[..., None, None] * torch.eye(3) + (along - across)[..., None, None] * outer


def offsets_for(batch: RenderBatch, seed: int = 0, size_m: float = 0.03) -> Tensor:
    """Random places beside the bones, metres."""
    random = torch.randn(*batch.parent.shape, 3, generator=torch.Generator().manual_seed(seed))
    return size_m * torch.nn.functional.normalize(random, dim=-1)


def batch_of(clip: Clip) -> RenderBatch:
    """One clip of one person, in its canonical place, its turns from the places."""
    return collate([replace(clip, rotations=None)], TINY)


def any_topology(num_joints: int, seed: int, dims: int = 3) -> Topology:
    """A random tree with random parts, pairs of sides and dimensions."""
    from tests.makers import random_topology

    rng = np.random.default_rng(seed)
    order = rng.permutation(num_joints)
    pairs = tuple((int(left), int(right)) for left, right in order[: num_joints // 3 * 2].reshape(-1, 2))
    return replace(random_topology(num_joints, seed), mirror=pairs, dims=dims)
