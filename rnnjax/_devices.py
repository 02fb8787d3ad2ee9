"""A batch spread over devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, get_abstract_mesh
from jax.sharding import PartitionSpec as P

from rnnjax._cell import Params
from rnnjax._checks import as_int, check_function, kind_of
from rnnjax._tree import describe

Axes = tuple[int | None, ...]


def over_devices(
    loss: Callable[..., jax.Array], mesh: Mesh, *, in_axes: Any = None
) -> Callable[..., jax.Array]:
    """The loss with its batch sharded over the devices of a mesh.

        L = mean over the devices of loss(params, the device's part of the batch)

    This equals the loss itself if that is a mean over the batch. Each device folds its own
    members; value and gradient are summed over the devices once, after the fold. The result
    is differentiated, and passed to `rnnjax.training.fit`, like the loss. Outside `jit`, JAX
    cannot differentiate with respect to arrays that are already sharded over a mesh of
    explicit axes, unless within `jax.set_mesh(mesh)`.

    >>> mesh = jax.make_mesh((jax.device_count(),), ("batch",))
    >>> spread = rnnjax.over_devices(loss, mesh)                        # (x, y), both [T, B, D]
    >>> spread = rnnjax.over_devices(loss, mesh, in_axes=(1, 0))        # labels [B] or [B, D]
    >>> spread = rnnjax.over_devices(loss, mesh, in_axes=(1, None))     # a key for all devices

    Args:
      loss: `loss(params, batch) -> scalar`, a mean over the batch.
      mesh: of devices; the batch is sharded over all of its axes.
      in_axes: the batch axis of each leaf of the batch, as for `jax.vmap`: an integer, None
        for a leaf that every device gets whole, or a pytree of these that is a prefix of the
        batch. 1 by default, and then every leaf must be `[T, B, ...]` with the same number
        of axes: shapes alone cannot distinguish `[B, D]` from `[T, B]`.

    Returns:
      `(params, batch) -> scalar`.

    Raises:
      TypeError: `loss` is not a function, or `mesh` not a mesh.
      ValueError: from the result, if the leaves do not fit `in_axes`, do not agree on B, or
        B is not a multiple of the number of devices.
      TypeError: from the result, if an axis is neither an integer nor None.
    """
    check_function("loss", loss, "params, batch", "pass the loss itself")
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh: expected a Mesh, got {kind_of(mesh)}; make one, as "
            '`jax.make_mesh((jax.device_count(),), ("batch",))`'
        )
    # Outside `jit`, shard_map would run operation by operation, which custom reverse rules
    # with symbolic zeros do not support. A partial is hashable even where the loss is not;
    # using the same one at every call compiles once.
    mean = jax.jit(partial(_mean, mesh), static_argnums=(0, 1, 2))
    plain = partial(loss)

    def spread(params: Params, batch: Any) -> jax.Array:
        leaves, structure = jax.tree.flatten(batch)
        axes = _axes(in_axes, batch, mesh.size)
        value: jax.Array = mean(plain, structure, axes, params, leaves)
        return value

    return spread


def _mean(
    mesh: Mesh,
    loss: Callable[..., jax.Array],
    structure: Any,
    axes: Axes,
    params: Params,
    leaves: list[jax.Array],
) -> jax.Array:
    names = tuple(mesh.axis_names)
    specs = [P() if axis is None else P(*(None,) * axis, names) for axis in axes]
    if _is_explicit((params, leaves)):
        leaves = jax.reshard(leaves, [NamedSharding(mesh, spec) for spec in specs])
    else:
        # Outside `jit`, JAX cannot differentiate a scalar with an explicit sharding; with
        # automatic axes the compiler reshards as needed.
        mesh = Mesh(mesh.devices, names)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), specs), out_specs=P())
    def mean(params: Params, leaves: list[jax.Array]) -> jax.Array:
        whole: jax.Array = lax.pmean(loss(params, jax.tree.unflatten(structure, leaves)), names)
        return whole

    value: jax.Array = mean(params, leaves)
    return value


def _is_explicit(tree: Any) -> bool:
    """Whether the type of a leaf, or the enclosing `set_mesh`, has explicit axes."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)]
    return any(AxisType.Explicit in m.axis_types for m in (get_abstract_mesh(), *meshes))


def _axes(in_axes: Any, batch: Any, devices: int) -> Axes:
    """The batch axis of every leaf, counted from the front.

    Raises:
      ValueError: they do not fit the leaves, or B differs or does not fit the devices.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if in_axes is None:
        if len({(len(shape), shape[:2]) for shape in shapes}) > 1 or any(
            len(shape) < 2 for shape in shapes
        ):
            raise ValueError(
                f"in_axes: expected the batch axis of each leaf, got None for {describe(batch)}, "
                "whose leaves are not all [T, B, ...] with the same T, B and number of axes; pass "
                "in_axes=1 if B is axis 1 of all of them, (1, 0) for inputs [T, B, ...] and "
                "targets [B, ...], None for a leaf that every device gets whole"
            )
        in_axes = 1
    prefix: Any
    given, prefix = jax.tree.flatten(in_axes, is_leaf=lambda axis: axis is None)
    try:
        parts = prefix.flatten_up_to(batch)
    except ValueError as error:
        raise ValueError(
            f"in_axes: expected a prefix of the batch {describe(batch)}, got {in_axes}; pass an "
            "integer or None for each of its parts"
        ) from error
    axes: list[int | None] = []
    for axis, part in zip(given, parts, strict=True):
        for leaf in jax.tree.leaves(part):
            ndim = jnp.ndim(leaf)
            axis = None if axis is None else as_int("in_axes", axis)
            if axis is not None and not -ndim <= axis < ndim:
                raise ValueError(
                    f"in_axes: expected axes that the leaves have, got {axis} for "
                    f"{describe(leaf)} of the batch {describe(batch)}; count from 0, time included"
                )
            axes.append(None if axis is None else axis % ndim)
    sizes = {shape[axis] for shape, axis in zip(shapes, axes, strict=True) if axis is not None}
    if len(sizes) != 1 or min(sizes) % devices:
        raise ValueError(
            f"batch: expected leaves with one B, a multiple of the {devices} devices of the mesh, "
            f"got {sorted(sizes) or 'none'} in {describe(batch)} at the axes {in_axes}; pad or cut "
            "the batch, use fewer devices, or pass the axes of B as `in_axes`"
        )
    return tuple(axes)
