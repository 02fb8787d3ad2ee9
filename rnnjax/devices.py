"""A batch spread over devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rnnjax.cell import Params


def over_devices(loss: Callable[..., jax.Array], mesh: Mesh) -> Callable[..., jax.Array]:
    """The loss with its batch spread over the devices of a mesh.

        L = mean over the devices of loss(params, the device's part of the batch)

    That is the loss itself where it is a mean over the batch. Each device folds its own
    members; of its gradient and value one sum over the devices is taken, after the
    fold. To be differentiated, and given to `rnnjax.training.fit`, like the loss; under
    `jit` where the axes of the mesh are explicit, as those of `jax.make_mesh` are.

    >>> mesh = jax.make_mesh((jax.device_count(),), ("batch",))
    >>> spread = rnnjax.over_devices(loss, mesh)

    Args:
      loss: `loss(params, batch, **options) -> scalar`, a mean over the batch.
      mesh: of devices; all of its axes are taken for the batch.

    Returns:
      `(params, batch, **options) -> scalar`; the leaves of the batch are `[T, B, ...]`.

    Raises:
      ValueError: from the result, where the number of devices does not divide B.
    """
    axes = tuple(mesh.axis_names)
    leading = P(None, axes)
    explicit = AxisType.Explicit in mesh.axis_types

    def spread(params: Params, batch: Any, **options: Any) -> jax.Array:
        for leaf in jax.tree.leaves(batch):
            shape = jnp.shape(leaf)
            if len(shape) < 2 or shape[1] % mesh.size:
                raise ValueError(
                    f"batch: expected leaves [T, B, ...] with B a multiple of the {mesh.size} "
                    f"devices of the mesh, got {shape}; pad or cut the batch, or take fewer devices"
                )

        @partial(jax.shard_map, mesh=mesh, in_specs=(P(), leading), out_specs=P())
        def mean(params: Params, batch: Any) -> jax.Array:
            whole: jax.Array = lax.pmean(loss(params, batch, **options), axes)
            return whole

        if explicit:  # Elsewhere the compiler moves the batch where it is wanted.
            batch = jax.reshard(batch, NamedSharding(mesh, leading))
        value: jax.Array = mean(params, batch)
        return value

    return spread
