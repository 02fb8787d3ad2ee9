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
    """The loss with its batch spread over the devices of a mesh.

        L = mean over the devices of loss(params, the device's part of the batch)

    That is the loss itself where it is a mean over the batch. Each device folds its own
    members; of its gradient and value one sum over the devices is taken, after the
    fold. To be differentiated, and given to `rnnjax.training.fit`, like the loss. Outside
    `jit`, JAX takes no gradient of arrays that are sharded over a mesh of explicit axes
    already, unless within `jax.set_mesh(mesh)`.

    >>> mesh = jax.make_mesh((jax.device_count(),), ("batch",))
    >>> spread = rnnjax.over_devices(loss, mesh)                        # (x, y), both [T, B, D]
    >>> spread = rnnjax.over_devices(loss, mesh, in_axes=(1, 0))        # labels [B] or [B, D]
    >>> spread = rnnjax.over_devices(loss, mesh, in_axes=(1, None))     # a key for all devices

    Args:
      loss: `loss(params, batch) -> scalar`, a mean over the batch.
      mesh: of devices; all of its axes are taken for the batch.
      in_axes: the axis of each leaf of the batch that is B, as for `jax.vmap`: an integer,
        None for what is the same on every device, or a pytree of these that is a prefix
        of the batch. Unless told it is 1, and then every leaf has to be `[T, B, ...]` with
        the same number of axes: no size tells a `[B, D]` from a `[T, B]`.

    Returns:
      `(params, batch) -> scalar`.

    Raises:
      TypeError: the loss is no function, or the mesh none.
      ValueError: from the result, where the leaves do not fit `in_axes`, or agree on a B
        that the number of devices divides.
      TypeError: from the result, where an axis is neither an integer nor None.
    """
    check_function("loss", loss, "params, batch", "pass the loss itself")
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh: expected a Mesh, got {kind_of(mesh)}; make one, as "
            '`jax.make_mesh((jax.device_count(),), ("batch",))`'
        )
    # Outside `jit`, shard_map would run operation by operation, which no custom reverse rule
    # with symbolic zeros stands. A partial can be hashed, whatever the loss is; the same one
    # at every call is compiled once.
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
        # Of a scalar with an explicit sharding JAX takes no gradient outside `jit`; where
        # axes are automatic, the compiler moves what it wants moved.
        mesh = Mesh(mesh.devices, names)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), specs), out_specs=P())
    def mean(params: Params, leaves: list[jax.Array]) -> jax.Array:
        whole: jax.Array = lax.pmean(loss(params, jax.tree.unflatten(structure, leaves)), names)
        return whole

    value: jax.Array = mean(params, leaves)
    return value


def _is_explicit(tree: Any) -> bool:
    """Whether a leaf, or the mesh that is set around it, is typed by its sharding."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)]
    return any(AxisType.Explicit in m.axis_types for m in (get_abstract_mesh(), *meshes))


def _axes(in_axes: Any, batch: Any, devices: int) -> Axes:
    """The batch axis of every leaf, counted from the front.

    Raises:
      ValueError: they do not fit the leaves, or the leaves not each other and the devices.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if in_axes is None:
        if len({(len(shape), shape[:2]) for shape in shapes}) > 1 or any(
            len(shape) < 2 for shape in shapes
        ):
            raise ValueError(
                f"in_axes: expected to be told where the leaves {describe(batch)} of the batch "
                "have B, since they are not all [T, B, ...] with the same T, B and number of axes; "
                "pass in_axes=1 if B is axis 1 of all of them, (1, 0) for inputs [T, B, ...] and "
                "targets [B, ...], None in place of what is the same on every device"
            )
        in_axes = 1
    prefix: Any
    told, prefix = jax.tree.flatten(in_axes, is_leaf=lambda axis: axis is None)
    try:
        parts = prefix.flatten_up_to(batch)
    except ValueError as error:
        raise ValueError(
            f"in_axes: expected a prefix of the batch {describe(batch)}, got {in_axes}; pass an "
            "integer or None for each of its parts"
        ) from error
    found: list[int | None] = []
    for axis, part in zip(told, parts, strict=True):
        for leaf in jax.tree.leaves(part):
            ndim = jnp.ndim(leaf)
            axis = None if axis is None else as_int("in_axes", axis)
            if axis is not None and not -ndim <= axis < ndim:
                raise ValueError(
                    f"in_axes: expected axes that the leaves have, got {axis} for "
                    f"{describe(leaf)} of the batch {describe(batch)}; count from 0, time included"
                )
            found.append(None if axis is None else axis % ndim)
    sizes = {shape[axis] for shape, axis in zip(shapes, found, strict=True) if axis is not None}
    if len(sizes) != 1 or min(sizes) % devices:
        raise ValueError(
            f"batch: expected leaves with one B, a multiple of the {devices} devices of the mesh, "
            f"got {sorted(sizes) or 'none'} in {describe(batch)} at the axes {in_axes}; pad or cut "
            "the batch, take fewer devices, or say by `in_axes` where B is"
        )
    return tuple(found)
