"""Training: many steps compiled into one call, watched from outside."""

import contextlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from os import PathLike
from typing import Any, NamedTuple, Protocol, Unpack

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.extend.core import jaxpr_as_fun

from rnnjax.cell import Cell, Inputs, Params, State, check_cell, signature
from rnnjax.checks import (
    as_bool,
    as_int,
    as_number,
    as_path,
    as_text,
    check_arrays,
    check_function,
    check_key,
    kind_of,
)
from rnnjax.diagnostics import adjoints, gradient_report
from rnnjax.diagnostics.adjoints import Loss, check_loss
from rnnjax.programs import Fingerprint, compiled
from rnnjax.tree import combine, describe, floating, rest
from rnnjax.unroll import Options

__all__ = [
    "Fitted",
    "NonFiniteError",
    "fit",
    "WindowLoss",
    "Streamed",
    "stream",
    "gradient_monitor",
]


class Fitted(NamedTuple):
    """What training leaves.

    Attributes:
      params: the trained parameters.
      optimizer_state: optax's, to go on from.
      losses: `[steps]`, each before its update.
      records: what the metrics file holds, a mapping a line.
    """

    params: Params
    optimizer_state: optax.OptState
    losses: jax.Array
    records: list[dict[str, float]]


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or an update turned infinite or NaN; it was not applied.

    Attributes:
      step: the training step, from 0.
      time: the time index at which it began, or None where every state and adjoint is
        finite, or where the loss runs no recurrence that can be seen.
      direction: "forward" or "backward", or None likewise.
      params: the parameters before that step.
    """

    def __init__(
        self, message: str, step: int, time: int | None, direction: str | None, params: Params
    ) -> None:
        super().__init__(message)
        self.step, self.time, self.direction, self.params = step, time, direction, params

    def __reduce__(self) -> Any:
        # Pickle makes an exception of its message alone, unless it is told otherwise.
        return type(self), (str(self), self.step, self.time, self.direction, self.params)


def fit(
    loss: Loss,
    params: Params,
    sample: Callable[[chex.PRNGKey], Any],
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    key: chex.PRNGKey,
    chunk: int = 100,
    clip: float | None = None,
    monitor: Callable[[Params], Any] | None = None,
    metrics: str | PathLike[str] | None = None,
    description: str = "training",
    quiet: bool = False,
) -> Fitted:
    """Minimises a loss over sampled batches.

        batch = sample(fold_in(key, step))
        params += optimizer(∂ loss(params, batch) / ∂ params)

    The gradient of a complex parameter is conjugated, so that it points uphill.
    The same key gives the same result. A chunk of steps is compiled into one call.

    Args:
      loss: `loss(params, batch) -> scalar`, pure; should it turn non-finite,
        `rnnjax.adjoints` tells where. A key, as dropout needs one, is a part of the batch.
      params: any pytree; leaves that are not floating stay as they are.
      sample: `key -> batch`, pure: it is compiled into the loop, and so called no more
        than a few times. It may give one batch whatever the key.
      optimizer: any optax optimiser; those that search along a line (`optax.lbfgs`), look
        ahead (`optax.contrib.sam`) or wait for the loss are given what they ask for.
        `optax.apply_if_finite` finds nothing to skip: what is not finite is an error.
      steps: how many updates.
      key: drawn from once a step, by `fold_in`.
      chunk: steps between two looks at the progress, at most.
      clip: largest global norm of the gradient, or None.
      monitor: `params -> mapping of names to scalars`, pure and compiled like `sample`,
        recorded at the start and after every chunk; see `gradient_monitor`.
      metrics: a JSON Lines file to append to: step, loss (the chunk's mean), the
        gradient's norm (the chunk's largest, before clipping), and the monitor's
        scalars. What is not finite is written as null, beside `"finite": false`.
      description: what the progress bar says.
      quiet: no progress bar; there is none either where standard error is not a
        terminal.

    Returns:
      `Fitted`.

    Raises:
      NonFiniteError: the loss, a gradient or an update turned non-finite.
      TypeError: the loss is no function of these two, or not a floating scalar, the key is
        not a key, the monitor does not give named scalars, or an option is of another kind.
      ValueError: steps or chunk below one, clip not above zero, or `sample` or `monitor`
        give something else when they are called once more.
    """
    remedy = "put what else it needs, such as a key for dropout, into the batch"
    check_function("loss", loss, "params, batch", remedy)
    optimizer = _check_optimizer(optimizer)
    steps, chunk = as_int("steps", steps), as_int("chunk", chunk)
    quiet = as_bool("quiet", quiet)
    metrics = None if metrics is None else as_path("metrics", metrics)
    description = as_text("description", description)
    check_key("key", key)
    check_arrays("params", params)
    check_function("sample", sample, "key", "pass one that draws a batch")
    if monitor is not None:
        check_function("monitor", monitor, "params", "pass one that gives named scalars")
    if steps < 1 or chunk < 1:
        raise ValueError(f"steps, chunk: expected at least 1 of each, got {steps} and {chunk}")
    if clip is not None:
        if not as_number("clip", clip) > 0:
            raise ValueError(f"clip: expected a norm above zero, got {clip}; None does not clip")
        optimizer = _clipped(clip, optimizer)

    check_loss(loss, params, _check_repeats("sample", sample, key))
    fixed = rest(params)
    moving = floating(params)
    if monitor is not None:
        _check_repeats("monitor", lambda m: monitor(combine(m, fixed)), moving)
    state = compiled(loss, optimizer.init, moving)(moving)

    # Chunks of one size, so that one loop is compiled.
    size = math.ceil(steps / math.ceil(steps / chunk))

    def run(
        moving: Params, fixed: Params, state: optax.OptState, key: chex.PRNGKey,
        first: jax.Array, steps: jax.Array,
    ) -> Any:  # fmt: skip
        def update(carry: Any, step: jax.Array) -> Any:
            moving, state, failed = carry
            batch = sample(jax.random.fold_in(key, step))
            new, (value, _), norm, bad = _descend(
                lambda m: (loss(combine(m, fixed), batch), None),
                optimizer, moving, state,
            )  # fmt: skip
            failed = jnp.where((failed < 0) & bad & (step < steps), step, failed)
            # From the first failure on, and beyond the last step, everything stays as it was.
            goes_on = (failed < 0) & (step < steps)
            kept = jax.tree.map(partial(jnp.where, goes_on), new, (moving, state))
            return (*kept, failed), (value, norm)

        every = first + jnp.arange(size, dtype=first.dtype)
        return lax.scan(update, (moving, state, jnp.full_like(first, -1)), every)

    def arguments(first: int) -> tuple[Any, ...]:
        # Put there in so many words: a transfer guard lets no number of Python through.
        return moving, fixed, state, key, *jax.device_put((np.int32(first), np.int32(steps)))

    run = compiled(loss, run, *arguments(0))

    def watch(moving: Params, fixed: Params) -> Any:
        return None if monitor is None else monitor(combine(moving, fixed))

    watch = compiled(loss, watch, moving, fixed)
    losses: list[np.ndarray] = []
    with _Log(metrics) as log, _progress(steps, description, quiet) as advance:
        log.write(0, watch(moving, fixed))
        for first in range(0, steps, size):
            count = min(size, steps - first)
            (moving, state, failed), (values, norms) = run(*arguments(first))
            values, norms = np.asarray(values)[:count], np.asarray(norms)[:count]
            if int(failed) >= 0:
                step = int(failed)
                value, norm = float(values[step - first]), float(norms[step - first])
                log.write(step, loss=value, gradient_norm=norm)
                batch = sample(jax.random.fold_in(key, step))
                raise _explained(loss, combine(moving, fixed), batch, step, value)
            losses.append(values)
            mean, largest = float(values.mean()), float(norms.max())
            log.write(first + count, watch(moving, fixed), loss=mean, gradient_norm=largest)
            advance(count, mean)
    return Fitted(
        combine(moving, fixed), state, jax.device_put(np.concatenate(losses)), log.records
    )


class WindowLoss(Protocol):
    """`loss(params, state, window) -> (scalar, state)`, for `stream`."""

    def __call__(self, params: Params, state: State, window: Any) -> tuple[jax.Array, State]:
        """The loss of a window that begins at `state`, and the state it ends with."""
        ...


class Streamed(NamedTuple):
    """Where `stream` stands after a window.

    Attributes:
      params: the parameters, this window's update included.
      optimizer_state: optax's.
      state: the state that the next window begins with.
      loss: of this window, before its update.
    """

    params: Params
    optimizer_state: optax.OptState
    state: State
    loss: jax.Array


def stream(
    loss: WindowLoss,
    params: Params,
    state: State,
    windows: Iterable[Any],
    optimizer: optax.GradientTransformation,
) -> Iterator[Streamed]:
    """Trains on a sequence without an end: an update a window, the state handed over.

        loss_w, s_w = loss(params, s_{w-1}, window_w)
        params += optimizer(∂ loss_w / ∂ params),   s_{w-1} held constant

    The gradient is that of `rnnjax.folds.truncated`, but for the parameters, which move
    from window to window: the state stays the one that the earlier ones made. Only one
    window is held. Windows of one shape are compiled once.

    >>> import itertools, jax, jax.numpy as jnp, optax, rnnjax
    >>> from rnnjax import cells, training
    >>> cell = cells.gru(input_size=1, hidden_size=8)
    >>> params = {"cell": cell.init(jax.random.key(0)), "readout": jnp.zeros((8, 1))}
    >>> wave = (jnp.sin(0.3 * jnp.arange(20 * i, 20 * i + 21)) for i in itertools.count())
    >>> windows = (x[:, None, None] for x in wave)          # [T + 1, B, D]
    >>> def loss(params, state, window):
    ...     state, h = rnnjax.unroll(cell, params["cell"], window[:-1], state)
    ...     return jnp.mean((h @ params["readout"] - window[1:]) ** 2), state
    >>> state = cell.start(params["cell"], (1,))
    >>> run = training.stream(loss, params, state, windows, optax.adam(1e-2))
    >>> losses = [float(done.loss) for done in itertools.islice(run, 100)]
    >>> losses[-1] < 0.1 * losses[0]
    True

    Args:
      loss: `loss(params, state, window) -> (scalar, state)`, pure; should it turn
        non-finite, `rnnjax.adjoints` tells where.
      params: any pytree; leaves that are not floating stay as they are.
      state: what the first window begins with; any pytree, `cell.start(params, (B,))`
        for one recurrence.
      windows: the sequence, window by window, each a pytree that the loss understands;
        drawn as they are needed, and possibly without an end.
      optimizer: as in `fit`.

    Yields:
      `Streamed` after each window; stop by drawing no more.

    Raises:
      NonFiniteError: the loss, a gradient or an update turned non-finite; its step
        counts windows, and its time index steps of that window.
      TypeError: the loss is no function of these three, its value is no floating scalar,
        the state it returns differs from the one it was given, or a window holds other things
        than arrays.
    """
    remedy = "put what else it needs, such as a key for dropout, into the window"
    check_function("loss", loss, "params, state, window", remedy)
    optimizer = _check_optimizer(optimizer)
    check_arrays("params", params)
    check_arrays("state", state)
    fixed, moving = rest(params), floating(params)
    state = jax.tree.map(jnp.asarray, state)
    optimizer_state = optimizer.init(moving)

    def checked(params: Params, given: tuple[State, Any]) -> tuple[jax.Array, State]:
        result = loss(params, *given)
        pair = isinstance(result, tuple) and len(result) == 2
        if not pair or signature(result[1]) != signature(given[0]):
            raise TypeError(
                f"loss: expected (scalar, {describe(given[0])}), got {describe(result)}; return "
                "the value, and the state that the next window begins with"
            )
        return result

    def value(params: Params, given: tuple[State, Any]) -> jax.Array:
        return checked(params, given)[0]

    @jax.jit
    def update(moving: Params, optimizer_state: optax.OptState, given: tuple[State, Any]) -> Any:
        return _descend(
            lambda m: checked(combine(m, fixed), given), optimizer, moving, optimizer_state
        )

    before: Any = None
    for step, window in enumerate(_iterable(windows)):
        check_arrays("windows", window)
        given = state, window
        if step == 0:
            check_loss(value, params, given)
        try:
            new, (scalar, after), _, bad = update(moving, optimizer_state, given)
        except (TypeError, ValueError) as error:
            if step > 0 and signature(window) != signature(before):
                error.add_note(
                    f"windows: expected {describe(before)} as the window before, whose batch the "
                    f"state has, got {describe(window)}; with another batch, begin another stream "
                    "at `cell.start(params, batch_shape)` and with these parameters"
                )
            raise
        before = window
        if bad:
            raise _explained(value, combine(moving, fixed), given, step, float(scalar))
        (moving, optimizer_state), state = new, after
        yield Streamed(combine(moving, fixed), optimizer_state, state, scalar)


def _iterable(windows: Iterable[Any]) -> Iterable[Any]:
    try:
        return iter(windows)
    except TypeError as error:
        raise TypeError(
            f"windows: expected an iterable of windows, got {kind_of(windows)}; pass a list or a "
            "generator"
        ) from error


def _check_optimizer(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    duck = hasattr(optimizer, "init") and hasattr(optimizer, "update")
    if not duck or isinstance(optimizer, Cell):
        raise TypeError(
            "optimizer: expected an optax.GradientTransformation, got "
            f"{kind_of(optimizer)}; call what makes one, as `optax.adam(1e-3)`"
        )
    return optax.with_extra_args_support(optimizer)


def _clipped(
    largest: float, optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a gradient whose global norm is at most `largest`.

    `optax.chain` would hand what an optimizer asks for by name to the clipping as well, and
    what each of the two takes could not be told.
    """
    clip = optax.clip_by_global_norm(largest)

    @wraps(optimizer.update)  # whose parameters are looked at
    def update(updates: Params, state: Any, params: Params | None = None, **more: Any) -> Any:
        updates, _ = clip.update(updates, optax.EmptyState())
        return optimizer.update(updates, state, params, **more)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _descend(
    loss: Callable[[Params], tuple[jax.Array, Any]],
    optimizer: optax.GradientTransformationExtraArgs,
    moving: Params,
    state: optax.OptState,
) -> tuple[tuple[Params, optax.OptState], tuple[jax.Array, Any], jax.Array, jax.Array]:
    """One update: what is new, what the loss gave, the gradient's norm, and whether it is bad."""

    def uphill(params: Params, *_: Any) -> Params:
        return jax.tree.map(jnp.conj, jax.grad(loss, has_aux=True)(params)[0])

    (value, extra), gradient = jax.value_and_grad(loss, has_aux=True)(moving)
    norm = optax.tree.norm(gradient)
    conjugate = jax.tree.map(jnp.conj, gradient)
    # Those that search along a line, look ahead or wait for the loss ask for more.
    more = {
        "value": value,
        "grad": conjugate,
        "value_fn": lambda params: loss(params)[0],
        "grad_fn": uphill,
    }
    parameters = inspect.signature(optimizer.update).parameters
    asked = set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        asked |= {"value", "grad", "value_fn"}
    updates, new_state = optimizer.update(
        conjugate, state, moving, **{name: x for name, x in more.items() if name in asked}
    )
    new = optax.apply_updates(moving, updates), new_state
    finite = [jnp.isfinite(x).all() for x in jax.tree.leaves((value, gradient, new[0]))]
    return new, (value, extra), norm, ~jnp.stack(finite).all()


def gradient_monitor(
    cell: Cell,
    inputs: Inputs,
    state: State | None = None,
    *,
    select: Callable[[Params], Params] = lambda params: params,
    directions: int = 16,
    **options: Unpack[Options],
) -> Callable[[Params], dict[str, jax.Array]]:
    """A monitor for `fit`: rate and horizon of the `gradient_report` as training goes.

    Args:
      cell: the recurrence to watch.
      inputs: what to watch it on, leaves `[T, B, ...]`.
      state: s before the first step; by default `cell.start`.
      select: finds the cell's parameters among those that are trained.
      directions: as in `gradient_report`.
      **options: mask, resets, reverse, probes, fold and name, as in `unroll`.

    Returns:
      `params -> {"rate": ..., "horizon": ...}`, medians over the batch.

    Raises:
      TypeError: no cell, inputs that are no arrays, or a `select` that is no function.
    """
    check_cell(cell)
    check_arrays("inputs", inputs)
    check_function("select", select, "params", "pass one such as `lambda params: params['cell']`")

    def monitor(params: Params) -> dict[str, jax.Array]:
        report = gradient_report(
            cell, select(params), inputs, state, directions=directions, **options
        )
        return {"rate": jnp.median(report.rate), "horizon": jnp.median(report.horizon)}

    return monitor


def _check_repeats(name: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """The shapes that a function gives, which is to be compiled, and so called only once.

    What it reads besides its argument, and what changes meanwhile, would stay as it was then.

    Raises:
      ValueError: called once more it gives something else.
    """

    def trace() -> Any:
        # A function of its own: JAX remembers what it made of the last.
        return jax.make_jaxpr(lambda given: function(given), return_shape=True)(argument)

    same = "batch for the same key" if name == "sample" else "numbers for the same parameters"
    begins = f"{name}: expected the same {same}, since it is compiled and called once"
    remedy = (
        "draw the whole batch from the key, as `data[jax.random.randint(key, (B,), 0, len(data))]`,"
        " or train by `rnnjax.training.stream`, which takes an iterable"
        if name == "sample"
        else "compute it from the parameters and from what does not change"
    )
    first, shapes = trace()
    begun = Fingerprint(first)
    try:
        second, again = trace()
    except StopIteration as error:
        raise ValueError(f"{begins}, got an iterator that has come to its end; {remedy}") from error
    now, alike = Fingerprint(second), signature(shapes) == signature(again)
    # What a callback gives is read at every step.
    if first.effects or (alike and begun == now):
        return shapes
    changed = f"{describe(shapes)}, then {describe(again)}"
    if now.changed_since(begun):
        changed = f"{describe(shapes)} out of an array of numpy that was written into in between"
    elif alike:
        results = (jaxpr_as_fun(program)(*jax.tree.leaves(argument)) for program in (first, second))
        places = [place for place, _ in jax.tree_util.tree_leaves_with_path(shapes)]
        different = [
            jax.tree_util.keystr(place) or "its value"
            for place, *pair in zip(places, *results, strict=True)
            if not _equal(*pair)
        ]
        if not different:
            return shapes
        changed = f"other numbers the second time in {', '.join(different)} of {describe(shapes)}"
    raise ValueError(f"{begins}, got {changed}; {remedy}")


def _equal(first: Any, second: Any) -> bool:
    if jnp.issubdtype(first.dtype, jax.dtypes.prng_key):
        first, second = jax.random.key_data(first), jax.random.key_data(second)
    floats = jnp.issubdtype(first.dtype, jnp.inexact)
    return np.array_equal(np.asarray(first), np.asarray(second), equal_nan=floats)


def _explained(loss: Loss, params: Params, batch: Any, step: int, value: float) -> NonFiniteError:
    """Repeats the step that failed, and asks it where."""
    came = f"a loss of {value}"
    if math.isfinite(value):
        came = f"a gradient or an update that is infinite or NaN (at {came})"
    begins = f"loss: expected finite values, got {came} in training step {step}"
    try:
        found = adjoints(loss, params, batch)
    except ValueError as error:
        return NonFiniteError(
            f"{begins}; at which time index cannot be told: {error}", step, None, None, params
        )
    for direction, what, remedy in (
        ("forward", "state", "look at its input, lower the learning rate, or clip the gradient"),
        ("backward", "adjoint dL/ds_t", "look at the target there, or clip the gradient"),
    ):
        for call, nonfinite in enumerate(found.nonfinite):
            times = np.asarray(getattr(nonfinite, direction)).ravel()
            if (times >= 0).any():
                time = int(times[times >= 0][0])
                which = f" of {found.names[call]}" if len(found.nonfinite) > 1 else ""
                return NonFiniteError(
                    f"{begins}; going {direction}, the {what}{which} is first not finite at time "
                    f"index {time}; {remedy}",
                    step, time, direction, params,
                )  # fmt: skip
    return NonFiniteError(
        f"{begins}, though every state and adjoint is finite; look at the inputs, at what the loss "
        "does with the outputs, and at the learning rate",
        step, None, None, params,
    )  # fmt: skip


class _Log:
    """Keeps a record of every chunk, and appends it to a file as JSON if there is one."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.records: list[dict[str, float]] = []

    def __enter__(self) -> "_Log":
        self.file = None if self.path is None else open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, step: int, watched: Any = None, **scalars: float) -> None:
        for path, leaf in jax.tree_util.tree_flatten_with_path(watched)[0]:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            if name in ("", "step", "loss", "gradient_norm", "finite") or jnp.ndim(leaf) != 0:
                raise TypeError(
                    "monitor: expected a mapping of names other than step, loss, gradient_norm and "
                    f"finite to scalars, got {name!r}: {describe(leaf)}; rename it, or take a mean"
                )
            scalars[name] = float(leaf)
        self.records.append({"step": step, **scalars})
        if self.file is not None:
            finite = all(math.isfinite(value) for value in scalars.values())
            clean = {name: x if math.isfinite(x) else None for name, x in scalars.items()}
            line = {"step": step, **clean, **({} if finite else {"finite": False})}
            self.file.write(json.dumps(line, allow_nan=False) + "\n")
            self.file.flush()


@contextlib.contextmanager
def _progress(steps: int, description: str, quiet: bool) -> Iterator[Callable[[int, float], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda count, value: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=steps)
        yield lambda count, value: bar.update(
            task, advance=count, description=f"{description}: loss {value:.4g}"
        )
