"""Training: many steps compiled into one call, with monitoring and validation between them."""

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from os import PathLike
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.extend.core import jaxpr_as_fun

from rnnjax._cell import Cell, Inputs, Params, State, check_cell, signature
from rnnjax._checks import (
    as_bool,
    as_count,
    as_number,
    as_path,
    as_text,
    check_arrays,
    check_function,
    check_key,
    kind_of,
)
from rnnjax._programs import Fingerprint, compiled, is_array
from rnnjax._records import Record, Records, progress, scalars
from rnnjax._tree import combine, describe, floating, rest
from rnnjax._unroll import Options
from rnnjax.diagnostics import adjoints, gradient_report
from rnnjax.diagnostics._adjoints import check_scalar

__all__ = [
    "TrainState",
    "begin",
    "Chunk",
    "train",
    "Fitted",
    "fit",
    "Streamed",
    "stream",
    "NonFiniteError",
    "gradient_monitor",
]


class TrainState(NamedTuple):
    """The state of training: all that the next step depends on, besides the data.

    Attributes:
      params: any pytree; leaves that are not floating are not trained.
      optimizer_state: optax's, for the floating leaves.
      carry: what the loss passes from step to step, such as the state of a recurrence; None
        if nothing.
      step: number of steps taken.
      key: random key for a sampler, folded with the step; None without one.
    """

    params: Params
    optimizer_state: optax.OptState
    carry: Any
    step: jax.Array
    key: jax.Array | None


def begin(
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    carry: Any = None,
    key: jax.Array | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      params: any pytree of arrays.
      optimizer: any optax optimiser.
      carry: the loss's first carry, None if it has none.
      key: for a sampler.

    Returns:
      A `TrainState` at step 0.

    Raises:
      TypeError: `optimizer` is not an optimiser, `key` not a key, or `params` or `carry`
        hold anything but arrays.
    """
    optimizer = _check_optimizer(optimizer)
    check_arrays("params", params)
    check_arrays("carry", carry)
    if key is not None:
        check_key("key", key)
    moving = floating(params)
    state = compiled(begin, optimizer.init, moving)(moving)
    return TrainState(
        params, state, jax.tree.map(jnp.asarray, carry), jax.device_put(np.int32(0)), key
    )


class Chunk(NamedTuple):
    """The result of n steps of training.

    Attributes:
      state: after them.
      losses: `[n]`, each before its update.
      gradient_norms: `[n]`, before clipping.
      aux: of the loss, leaves `[n, ...]`; None without `has_aux`.
    """

    state: TrainState
    losses: np.ndarray
    gradient_norms: np.ndarray
    aux: Any


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or an update became infinite or NaN; it was not applied.

    Attributes:
      state: before that step.
      time: the time index at which it arose, or None if every state and adjoint is finite,
        or the loss runs no recurrence that `rnnjax.adjoints` sees.
      direction: "forward" or "backward", or None likewise.
      loss: at that step.
      gradient_norm: at that step.
    """

    def __init__(
        self,
        message: str,
        state: TrainState,
        time: int | None,
        direction: str | None,
        loss: float,
        gradient_norm: float,
    ) -> None:
        super().__init__(message)
        self.state, self.time, self.direction = state, time, direction
        self.loss, self.gradient_norm = loss, gradient_norm

    @property
    def step(self) -> int:
        """The training step, from 0."""
        return int(self.state.step)

    @property
    def params(self) -> Params:
        """The parameters before that step."""
        return self.state.params

    def __reduce__(self) -> Any:
        # By default pickle rebuilds an exception from its message alone.
        fields = self.state, self.time, self.direction, self.loss, self.gradient_norm
        return type(self), (str(self), *fields)


def train(
    loss: Callable[..., Any],
    state: TrainState,
    data: Callable[[jax.Array], Any] | Iterable[Any],
    optimizer: optax.GradientTransformation,
    *,
    steps: int | None = None,
    chunk: int = 100,
    clip: float | None = None,
    has_aux: bool = False,
) -> Iterator[Chunk]:
    """Trains chunk by chunk: the loop inside `fit` and `stream`, for custom training loops.

        batch = sample(fold_in(key, step))                      or the next of an iterable
        L, carry = loss(params, carry, batch)
        params += optimizer(∂L / ∂params),   carry before the step held constant

    A chunk ends when the total number of steps is a multiple of `chunk`, or training ends.
    Continuing from the state of an earlier call takes bitwise the same steps as a single
    call, whatever the chunks, as long as `chunk` is above one: XLA may compile a chunk of one
    step with other rounding. With a sampler a chunk is compiled into one call; with an iterable
    each step is, once per batch shape.

    Args:
      loss: `loss(params, batch) -> scalar`, or if the state has a carry
        `loss(params, carry, batch) -> (scalar, carry)`; pure. With `has_aux`
        `(scalar, aux)` and `(scalar, (carry, aux))`. If it becomes non-finite, the error
        reports where, by `rnnjax.adjoints`. A random key, as for dropout, is part of the batch.
      state: from `begin`, or from a chunk.
      data: a sampler `key -> batch`, pure and compiled, so that Python runs it only a few
        times; it may ignore the key. Or an iterable of batches, possibly endless, each
        drawn when it is needed.
      optimizer: any optax optimiser; line searches (`optax.lbfgs`), lookahead
        (`optax.contrib.sam`) and optimisers that use the loss get the arguments they need.
        `optax.apply_if_finite` never skips a step: non-finite values raise an error first.
      steps: number of updates; by default as many as an iterable has batches.
      chunk: steps in a chunk, at most.
      clip: largest global norm of the gradient; not clipped by default.
      has_aux: whether the loss returns auxiliary data, as in `jax.grad`.

    Yields:
      A `Chunk`. The gradient of a complex parameter is conjugated, the direction of steepest
      ascent.

    Raises:
      NonFiniteError: the loss, a gradient or an update became non-finite.
      TypeError: `loss` does not take these arguments or returns something else, returns a
        carry unlike the one it was given, a batch holds anything but arrays, or an argument
        has the wrong type.
      ValueError: `steps` or `chunk` is below one, `clip` not above zero, a sampler comes
        without a key or `steps`, or returns something else when it is called again.
    """
    if not isinstance(state, TrainState):
        raise TypeError(
            f"state: expected a TrainState, got {kind_of(state)}; make one by "
            "`training.begin(params, optimizer)`"
        )
    borders = (as_count("chunk", chunk),)
    stop = _stop(state, steps)
    yield from _chunks("data", loss, state, data, optimizer, borders, stop, clip, has_aux)


class Fitted(NamedTuple):
    """The result of training.

    Attributes:
      params: those with the best validation, or the last ones if there is none, or none that
        is a number.
      state: the final state, to continue from.
      losses: `[steps]`, each before its update.
      aux: of the loss, leaves `[steps, ...]`; None without `has_aux`.
      records: the contents of the metrics file, one mapping per line.
    """

    params: Params
    state: TrainState
    losses: jax.Array
    aux: Any
    records: list[Record]


def fit(
    loss: Callable[..., Any],
    params: Params | TrainState,
    data: Callable[[jax.Array], Any] | Iterable[Any],
    optimizer: optax.GradientTransformation,
    *,
    steps: int | None = None,
    key: jax.Array | None = None,
    chunk: int = 100,
    clip: float | None = None,
    has_aux: bool = False,
    monitor: Callable[[Params], Any] | None = None,
    validate: Callable[[Params], Any] | None = None,
    every: int | None = None,
    patience: int | None = None,
    callback: Callable[[TrainState, Record], Any] | None = None,
    metrics: str | PathLike[str] | None = None,
    description: str = "training",
    quiet: bool = False,
) -> Fitted:
    """Minimises a loss over batches.

        batch = sample(fold_in(key, step))                      or the next of an iterable
        params += optimizer(∂ loss(params, batch) / ∂ params)

    The same key gives the same result, in one call or in several that continue from each
    other's state.

    Args:
      loss: as in `train`.
      params: any pytree, or a `TrainState` to continue from, which may have a carry.
      data: as in `train`.
      optimizer: as in `train`.
      steps: as in `train`.
      key: random key for a sampler; a `TrainState` has its own.
      chunk: as in `train`; a record is made at the end of each, and at each validation.
      clip: as in `train`.
      has_aux: as in `train`.
      monitor: `params -> mapping of names to scalars`, pure and compiled like a sampler,
        part of every record and recorded at the start; see `gradient_monitor`.
      validate: `params -> scalar`, lower is better, on held-out data. It is called whenever
        the number of steps is a multiple of `every`, and at the end, and recorded as
        "validation".
      every: steps between two validations; by default `chunk`.
      patience: training stops after this many validations in a row without a new best.
      callback: `(state, record)`, called after every record.
      metrics: a JSON Lines file to append the records to: step, loss (the mean since the last
        record), gradient norm (the largest, before clipping), the means of the scalars in
        `aux`, the scalars of the monitor, and the validation. Non-finite values are written
        as null, with `"finite": false`.
      description: label of the progress bar.
      quiet: show no progress bar; there is none either if standard error is not a terminal.

    Returns:
      `Fitted`.

    Raises:
      NonFiniteError: as `train`.
      TypeError: as `train`; `monitor` does not return named scalars, `validate` not a
        scalar, or an option has the wrong type.
      ValueError: as `train`; `monitor` returns something else when it is called again,
        `every` or `patience` is below one, or given without `validate`, or `key` is given
        with a `TrainState`.
    """
    quiet, description = as_bool("quiet", quiet), as_text("description", description)
    metrics = None if metrics is None else as_path("metrics", metrics)
    chunk = as_count("chunk", chunk)
    patience = None if patience is None else as_count("patience", patience)
    if validate is None and (every is not None or patience is not None):
        raise ValueError(
            f"every, patience: expected to be given with `validate`, got {every} and {patience}; "
            "pass a function of the parameters to validate by"
        )
    every = chunk if every is None else as_count("every", every)
    if callback is not None:
        check_function("callback", callback, "state, record", "pass one that reads them")
    state = _begun(params, optimizer, None, key)
    begun, stop = int(state.step), _stop(state, steps)
    borders = (chunk,) if validate is None else (chunk, every)
    watch = _watched(loss, monitor, state.params)
    score = None if validate is None else _validated(validate)
    chunks = _chunks("data", loss, state, data, optimizer, borders, stop, clip, has_aux)
    results: list[_Results] = []
    best, best_params, waited = math.inf, None, 0
    steps = None if stop is None else stop - begun
    with Records(metrics) as log, _failures(log), progress(steps, description, quiet) as advance:

        def validated(due: bool) -> Record:
            nonlocal best, best_params, waited
            if score is None or not due:
                return {}
            numbers = score(state.params)
            waited += 1
            if numbers["validation"] < best:
                best, best_params, waited = numbers["validation"], state.params, 0
            return numbers

        def keep(numbers: Record) -> None:
            if numbers:
                record = log.write(int(state.step), numbers)
                if callback is not None:
                    callback(state, record)

        if begun == 0:  # A continued training has a record of this step already.
            keep(watch(state.params))
        for run in chunks:
            state = run.state
            results.append(run[1:])
            advance(len(run.losses), float(run.losses.mean()))
            step = int(state.step)
            # Between two borders only an iterable ends.
            due = step % every == 0 or step == stop or step % chunk != 0
            keep(_numbers(results[-1:]) | watch(state.params) | validated(due))
            if patience is not None and waited >= patience:
                break
        if results:  # An iterable may also end at a border.
            keep(validated(not due))
    if not results:
        raise ValueError("data: expected at least one batch, got none; pass a list or a generator")
    losses, _, aux = _joined(results)
    params = state.params if best_params is None else best_params
    return Fitted(params, state, jax.device_put(losses), aux, list(log))


class Streamed(NamedTuple):
    """The result of one window of `stream`.

    Attributes:
      state: after this window's update; its carry is the next window's initial one.
      loss: of this window, before its update.
      aux: of the loss; None without `has_aux`.
    """

    state: TrainState
    loss: jax.Array
    aux: Any

    @property
    def params(self) -> Params:
        """The parameters, this window's update included."""
        return self.state.params


def stream(
    loss: Callable[..., Any],
    params: Params | TrainState,
    carry: State,
    windows: Iterable[Any],
    optimizer: optax.GradientTransformation,
    *,
    chunk: int = 100,
    clip: float | None = None,
    has_aux: bool = False,
    monitor: Callable[[Params], Any] | None = None,
    metrics: str | PathLike[str] | None = None,
) -> Iterator[Streamed]:
    """Trains on an endless sequence: one update per window, the state carried over.

        loss_w, s_w = loss(params, s_{w-1}, window_w)
        params += optimizer(∂ loss_w / ∂ params),   s_{w-1} held constant

    The gradient is that of `rnnjax.folds.truncated`, except that the parameters change from
    window to window, while the carried state still comes from the earlier ones. Only one
    window is held in memory. Windows of one shape are compiled once.

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
      loss: `loss(params, carry, window) -> (scalar, carry)`, as in `train`.
      params: any pytree, or a `TrainState` to continue from, which has its own carry.
      carry: the first window's carry; any pytree, `cell.start(params, (B,))` for one
        recurrence; None with a `TrainState`.
      windows: an iterable of windows, possibly endless, each a pytree that the loss takes;
        drawn as they are needed.
      optimizer: as in `train`.
      chunk: windows between two records.
      clip: as in `train`.
      has_aux: as in `train`.
      monitor: as in `fit`.
      metrics: as in `fit`.

    Yields:
      `Streamed` after each window; to stop, stop iterating.

    Raises:
      NonFiniteError: as `train`; its step counts windows, its time index the steps within
        that window.
      TypeError: as `fit`.
      ValueError: as `fit`, no carry is given, or `monitor` without `metrics`.
    """
    metrics = None if metrics is None else as_path("metrics", metrics)
    if monitor is not None and metrics is None:
        raise ValueError(
            "monitor: expected to be given with `metrics`, the file that its numbers go to, got "
            "None; pass a path, or call it on the parameters of each result"
        )
    chunk = as_count("chunk", chunk)
    state = _begun(params, optimizer, carry, None)
    if state.carry is None:
        raise ValueError(
            "carry: expected what the first window begins with, got None; pass "
            "`cell.start(params, (B,))`, or use `fit` if nothing is carried over"
        )
    watch = _watched(loss, monitor, state.params)
    iterator = _iterable("windows", windows)
    chunks = _chunks("windows", loss, state, iterator, optimizer, (1,), None, clip, has_aux)
    results: list[_Results] = []
    with Records(metrics) as log, _failures(log):
        for run in chunks:
            if metrics is not None:
                results.append(run[1:])
                if int(run.state.step) % chunk == 0:
                    log.write(int(run.state.step), _numbers(results) | watch(run.state.params))
                    results.clear()
            aux = jax.tree.map(lambda leaf: leaf[0], run.aux)
            yield Streamed(run.state, jax.device_put(run.losses[0]), aux)
        if results:
            log.write(int(run.state.step), _numbers(results) | watch(run.state.params))


def gradient_monitor(
    cell: Cell,
    inputs: Inputs,
    state: State | None = None,
    *,
    select: Callable[[Params], Params] = lambda params: params,
    directions: int = 16,
    **options: Unpack[Options],
) -> Callable[[Params], dict[str, jax.Array]]:
    """A monitor for `fit`: rate and horizon of the `gradient_report` during training.

    Args:
      cell: the recurrence to monitor.
      inputs: the sequences to evaluate it on, leaves `[T, B, ...]`.
      state: s before the first step; by default `cell.start`.
      select: picks the cell's parameters out of the trained ones.
      directions: as in `gradient_report`.
      **options: mask, resets, reverse, probes, fold and name, as in `unroll`.

    Returns:
      `params -> {"rate": ..., "horizon": ...}`, medians over the batch: nats per step, and
      steps.

    Raises:
      TypeError: `cell` is not a cell, `inputs` not arrays, or `select` not a function; from the
        monitor, as `gradient_report`.
      ValueError: from the monitor, as `gradient_report`.
    """
    check_cell(cell)
    check_arrays("inputs", inputs)
    check_function("select", select, "params", "pass one such as `lambda params: params['cell']`")

    def monitor(params: Params) -> dict[str, jax.Array]:
        chosen = select(params)
        try:
            report = gradient_report(cell, chosen, inputs, state, directions=directions, **options)
        except TypeError as error:
            error.add_note(
                f"select: expected the parameters of the cell, got {describe(chosen)}; pick them "
                "out of the trained ones, as by `lambda params: params['cell']`"
            )
            raise
        return {"rate": jnp.median(report.rate), "horizon": jnp.median(report.horizon)}

    return monitor


def _begun(
    params: Params | TrainState,
    optimizer: optax.GradientTransformation,
    carry: Any,
    key: jax.Array | None,
) -> TrainState:
    """The state to continue from, or a new one."""
    if isinstance(params, Fitted | Streamed | Chunk):
        raise TypeError(
            f"params: expected parameters or a TrainState, got {kind_of(params)}; pass its `.state`"
        )
    if not isinstance(params, TrainState):
        return begin(params, optimizer, carry=carry, key=key)
    for name, given in (("carry", carry), ("key", key)):
        if given is not None:
            raise ValueError(
                f"{name}: expected None with a TrainState, which has its own, got "
                f"{kind_of(given)}; leave it out, or pass `state._replace({name}=...)`"
            )
    return params


def _stop(state: TrainState, steps: int | None) -> int | None:
    """The step count at which training ends; None where the data determine it."""
    return None if steps is None else int(state.step) + as_count("steps", steps)


def _check_optimizer(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    duck = hasattr(optimizer, "init") and hasattr(optimizer, "update")
    if not duck or isinstance(optimizer, Cell):
        raise TypeError(
            "optimizer: expected an optax.GradientTransformation, got "
            f"{kind_of(optimizer)}; call what makes one, as `optax.adam(1e-3)`"
        )
    return optax.with_extra_args_support(optimizer)


def _clipped(
    clip: float | None, optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, given the gradient clipped to a global norm of at most `clip`.

    `optax.chain` would hide which extra arguments the optimizer takes.
    """
    if clip is None:
        return optimizer
    if not as_number("clip", clip) > 0:
        raise ValueError(f"clip: expected a norm above zero, got {clip}; None does not clip")
    clipping = optax.clip_by_global_norm(clip)

    @wraps(optimizer.update)  # `_step` inspects its signature
    def update(updates: Params, state: Any, params: Params | None = None, **more: Any) -> Any:
        updates, _ = clipping.update(updates, optax.EmptyState())
        return optimizer.update(updates, state, params, **more)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


# The loss as `(params, carry, batch) -> (scalar, (carry, aux))`.
_Loss = Callable[[Params, Any, Any], tuple[jax.Array, tuple[Any, Any]]]


def _normal(loss: Callable[..., Any], has_carry: bool, has_aux: bool) -> _Loss:
    """The loss in one form, which checks its results when it is traced.

    Raises:
      TypeError: it is not a function of these arguments.
    """
    arguments = "params, carry, batch" if has_carry else "params, batch"
    remedy = "put what else it needs, such as a key for dropout, into the batch"
    check_function("loss", loss, arguments, remedy)

    def normal(params: Params, carry: Any, batch: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        result = loss(params, carry, batch) if has_carry else loss(params, batch)
        others = [describe(carry)] * has_carry + ["aux"] * has_aux
        expected = others[0] if len(others) == 1 else f"({', '.join(others)})"
        wrong = TypeError(
            f"loss: expected (scalar, {expected}), got {describe(result)}; return the value, and "
            + ("a carry of the structure it was given" if has_carry else "the auxiliary data")
        )

        def pair(value: Any) -> Any:
            if not isinstance(value, tuple) or len(value) != 2:
                raise wrong
            return value

        if not others and isinstance(result, tuple) and len(result) == 2:
            raise TypeError(
                f"loss: expected a floating scalar, got {describe(result)}; pass `has_aux=True` "
                "if the second is auxiliary data, or give the state a carry"
            )
        scalar, rest = pair(result) if others else (result, None)
        new, aux = pair(rest) if has_carry and has_aux else (rest, rest)
        if has_carry and signature(new) != signature(carry):
            raise wrong
        check_scalar(scalar)
        return scalar, (new if has_carry else carry, aux if has_aux else None)

    return normal


class _Step(NamedTuple):
    """The results of one step besides the next state."""

    loss: jax.Array
    gradient_norm: jax.Array
    aux: Any
    bad: jax.Array


def _step(
    loss: _Loss, optimizer: optax.GradientTransformationExtraArgs, state: TrainState, batch: Any
) -> tuple[TrainState, _Step]:
    """The next state, and the step's loss, gradient norm, aux and whether any is non-finite."""
    fixed, moving = rest(state.params), floating(state.params)

    def of_moving(moving: Params) -> tuple[jax.Array, tuple[Any, Any]]:
        return loss(combine(moving, fixed), state.carry, batch)

    def uphill(params: Params, *_: Any) -> Params:
        return jax.tree.map(jnp.conj, jax.grad(of_moving, has_aux=True)(params)[0])

    (value, (carry, aux)), gradient = jax.value_and_grad(of_moving, has_aux=True)(moving)
    conjugate = jax.tree.map(jnp.conj, gradient)
    # Line searches, lookahead and optimisers that use the loss take extra arguments.
    more = {
        "value": value,
        "grad": conjugate,
        "value_fn": lambda params: of_moving(params)[0],
        "grad_fn": uphill,
    }
    parameters = inspect.signature(optimizer.update).parameters
    taken = set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        taken |= {"value", "grad", "value_fn"}
    extra = {name: x for name, x in more.items() if name in taken}
    updates, inner = optimizer.update(conjugate, state.optimizer_state, moving, **extra)
    moving = optax.apply_updates(moving, updates)
    finite = [jnp.isfinite(x).all() for x in jax.tree.leaves((value, gradient, moving))]
    after = TrainState(combine(moving, fixed), inner, carry, state.step + 1, state.key)
    return after, _Step(value, optax.tree.norm(gradient), aux, ~jnp.stack(finite).all())


def _chunks(
    name: str,
    loss: Callable[..., Any],
    state: TrainState,
    data: Callable[[jax.Array], Any] | Iterable[Any],
    optimizer: optax.GradientTransformation,
    borders: tuple[int, ...],
    stop: int | None,
    clip: float | None,
    has_aux: bool,
) -> Iterator[Chunk]:
    """Chunks that end at `stop`, if it is known, and at every multiple of each border.

    `name` is the name of `data` in errors.
    """
    normal = _normal(loss, state.carry is not None, as_bool("has_aux", has_aux))
    optimizer = _check_optimizer(optimizer)
    begun = jax.eval_shape(optimizer.init, floating(state.params))
    if jax.tree.map(jnp.shape, begun) != jax.tree.map(jnp.shape, state.optimizer_state):
        raise TypeError(
            f"state: expected an optimizer_state {describe(begun)}, got "
            f"{describe(state.optimizer_state)}; continue with the optimizer that it began with, "
            "or call `training.begin` for another optimizer or other parameters"
        )
    step = partial(_step, normal, _clipped(clip, optimizer))
    fixed, state = rest(state.params), jax.device_put(state)
    if callable(data):
        chunks = _sampled(name, loss, normal, step, state, data, borders, stop)
    else:
        chunks = _drawn(name, loss, normal, step, state, _iterable(name, data), borders, stop)
    for chunk in chunks:
        params = combine(floating(chunk.state.params), fixed)
        yield chunk._replace(state=chunk.state._replace(params=params))


def _ends(count: int, borders: tuple[int, ...], stop: int | None) -> Iterator[int]:
    while count != stop:
        nearest = min((count // border + 1) * border for border in borders)
        count = nearest if stop is None else min(nearest, stop)
        yield count


def _sampled(
    name: str,
    loss: Callable[..., Any],
    normal: _Loss,
    step: Callable[[TrainState, Any], tuple[TrainState, _Step]],
    state: TrainState,
    sample: Callable[[jax.Array], Any],
    borders: tuple[int, ...],
    stop: int | None,
) -> Iterator[Chunk]:
    """One call per chunk."""
    remedy = "pass one that draws a batch, or an iterable of batches"
    if inspect.isgeneratorfunction(sample):
        remedy = f"call it, as `{name}={sample.__name__}()`, for an iterable of batches"
        raise TypeError(f"{name}: expected a sampler, got {kind_of(sample)}, a generator; {remedy}")
    check_function(name, sample, "key", remedy)
    if stop is None or state.key is None:
        missing, remedy = ("steps", "a number") if stop is None else ("key", "jax.random.key(seed)")
        raise ValueError(f"{missing}: expected with a sampler, got None; pass {remedy}")
    batch = _check_repeats(name, sample, state.key)
    jax.eval_shape(normal, state.params, state.carry, batch)
    begun = int(state.step)

    def draw(state: TrainState) -> Any:
        assert state.key is not None
        return sample(jax.random.fold_in(state.key, state.step))

    # The same length for all chunks, so that the loop is compiled once; XLA compiles a loop of
    # one iteration to other operations, with other rounding.
    size = min(*borders, max(2, stop - begun))

    def run(state: TrainState, last: jax.Array) -> tuple[TrainState, _Step]:
        def body(carry: tuple[TrainState, jax.Array], _: None) -> Any:
            state, bad = carry
            after, done = step(state, draw(state))
            # After the first failure, and beyond the last step, the state no longer changes.
            active = ~bad & (state.step < last)
            bad = bad | (active & done.bad)
            after = jax.tree.map(partial(jnp.where, active & ~bad), after, state)
            return (after, bad), done._replace(bad=bad)

        (state, _), done = lax.scan(body, (state, jnp.zeros((), bool)), length=size)
        return state, done

    # An explicit transfer: a transfer guard rejects Python numbers.
    run = compiled(loss, run, state, jax.device_put(np.int32(begun)))
    for last in _ends(begun, borders, stop):
        state, done = run(state, jax.device_put(np.int32(last)))
        done = jax.tree.map(lambda leaf, n=last - begun: np.asarray(leaf)[:n], done)
        begun = last
        if done.bad.any():
            at = int(done.bad.argmax())
            first = jax.tree.map(lambda leaf, at=at: leaf[at], done)
            raise _explained(normal, state, draw(state), first)
        yield Chunk(state, done.loss, done.gradient_norm, done.aux)


def _drawn(
    name: str,
    loss: Callable[..., Any],
    normal: _Loss,
    step: Callable[[TrainState, Any], tuple[TrainState, _Step]],
    state: TrainState,
    batches: Iterator[Any],
    borders: tuple[int, ...],
    stop: int | None,
) -> Iterator[Chunk]:
    """One call per step, compiled once per batch shape."""
    begun, before = int(state.step), None
    updates: dict[Any, Callable[[TrainState, Any], tuple[TrainState, _Step]]] = {}
    for last in _ends(begun, borders, stop):
        taken: list[_Step] = []
        for batch in itertools.islice(batches, last - begun):
            check_arrays(name, batch)
            if before is None:
                jax.eval_shape(normal, state.params, state.carry, batch)
            leaves, structure = jax.tree.flatten(batch)
            kind = structure, *map(jax.typeof, leaves)
            try:
                if kind not in updates:
                    updates[kind] = compiled(loss, step, state, batch)
                after, done = updates[kind](state, batch)
            except (TypeError, ValueError) as error:
                if before is not None and signature(batch) != signature(before):
                    error.add_note(
                        f"{name}: expected {describe(before)} as before, which fits the carry, "
                        f"got {describe(batch)}; for another batch, begin again with "
                        "`cell.start(params, batch_shape)` and these parameters"
                    )
                raise
            if done.bad:
                raise _explained(normal, state, batch, jax.tree.map(np.asarray, done))
            before, state = batch, after
            taken.append(done)
        if taken:
            done = jax.tree.map(lambda *leaves: np.stack(leaves), *taken)
            yield Chunk(state, done.loss, done.gradient_norm, done.aux)
        if len(taken) < last - begun:
            return
        begun = last


def _iterable(name: str, data: Iterable[Any]) -> Iterator[Any]:
    kinds = "an iterable of batches" + (", or a sampler key -> batch" if name == "data" else "")
    if is_array(data) or isinstance(data, tuple | dict):
        raise TypeError(
            f"{name}: expected {kinds}, got {describe(data)}, which may be a single one; pass "
            "`itertools.repeat(batch)`, or `list(batches)`"
        )
    try:
        return iter(data)
    except TypeError as error:
        raise TypeError(
            f"{name}: expected {kinds}, got {kind_of(data)}; pass a list or a generator"
        ) from error


# A chunk without its state, which would be kept alive: losses, gradient norms, aux.
_Results = tuple[np.ndarray, np.ndarray, Any]


def _numbers(results: list[_Results]) -> Record:
    """The numbers of a record, over the chunks since the last one."""
    losses, norms, aux = _joined(results)
    means = {}
    for path, leaf in jax.tree.leaves_with_path(aux):
        if leaf.ndim == 1:
            place = jax.tree_util.keystr(path, simple=True, separator=".")
            means[place or "aux"] = leaf.mean()
    return {
        "loss": float(losses.mean()),
        "gradient_norm": float(norms.max()),
        **scalars("aux", means),
    }


def _joined(results: list[_Results]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


@contextlib.contextmanager
def _failures(log: Records) -> Iterator[None]:
    """Records the step that failed."""
    try:
        yield
    except NonFiniteError as error:
        log.write(error.step, {"loss": error.loss, "gradient_norm": error.gradient_norm})
        raise


def _watched(
    loss: Callable[..., Any], monitor: Callable[[Params], Any] | None, params: Params
) -> Callable[[Params], Record]:
    """The monitor, compiled, as `params -> record`."""
    if monitor is None:
        return lambda params: {}
    check_function("monitor", monitor, "params", "pass one that gives named scalars")
    function, fixed = monitor, rest(params)
    _check_repeats("monitor", lambda moving: function(combine(moving, fixed)), floating(params))
    watch = compiled(loss, lambda params: function(params), params)
    return lambda params: scalars("monitor", watch(params))


def _validated(validate: Callable[[Params], Any]) -> Callable[[Params], Record]:
    """The validation as `params -> record`."""
    check_function("validate", validate, "params", "pass one that gives a scalar")

    def score(params: Params) -> Record:
        value = validate(params)
        try:
            return {"validation": as_number("validate", value)}
        except TypeError as error:
            raise TypeError(
                f"validate: expected a function that gives a scalar, got {describe(value)}; take "
                "its mean, and return it alone"
            ) from error

    return score


def _check_repeats(name: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """The shapes of a function's result, which will be compiled, and so traced only once.

    Anything it reads besides its argument would keep the value it had then.

    Raises:
      ValueError: traced again it gives something else.
    """

    def trace() -> Any:
        # A new function: JAX caches the trace of a known one.
        return jax.make_jaxpr(lambda argument: function(argument), return_shape=True)(argument)

    same = "batch for the same key" if name == "data" else "numbers for the same parameters"
    begins = f"{name}: expected the same {same}, since it is compiled and called once"
    remedy = (
        "draw the whole batch from the key, as `data[jax.random.randint(key, (B,), 0, len(data))]`,"
        " or pass an iterable of batches"
        if name == "data"
        else "compute it from the parameters and from what does not change"
    )
    first, shapes = trace()
    begun = Fingerprint(first)
    try:
        second, again = trace()
    except StopIteration as error:
        raise ValueError(f"{begins}, got an exhausted iterator; {remedy}") from error
    now, alike = Fingerprint(second), signature(shapes) == signature(again)
    # The result of a callback is read at every step.
    if first.effects or (alike and begun == now):
        return shapes
    changed = f"{describe(shapes)}, then {describe(again)}"
    if now.changed_since(begun):
        changed = f"{describe(shapes)} from a numpy array that was modified in between"
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


def _explained(normal: _Loss, state: TrainState, batch: Any, done: _Step) -> NonFiniteError:
    """Repeats the failed step to locate the first non-finite value."""
    value = float(done.loss)
    got = f"a loss of {value}"
    if math.isfinite(value):
        got = f"a gradient or an update that is infinite or NaN (at {got})"
    begins = f"loss: expected finite values, got {got} in training step {int(state.step)}"

    def failure(text: str, time: int | None = None, direction: str | None = None) -> NonFiniteError:
        norm = float(done.gradient_norm)
        return NonFiniteError(f"{begins}{text}", state, time, direction, value, norm)

    try:
        result = adjoints(lambda *args: normal(*args)[0], state.params, state.carry, batch)
    except ValueError as error:
        return failure(f"; the time index cannot be determined: {error}")
    for direction, what, remedy in (
        ("forward", "state", "look at its input, lower the learning rate, or clip the gradient"),
        ("backward", "adjoint dL/ds_t", "look at the target there, or clip the gradient"),
    ):
        for name, nonfinite in zip(result.names, result.nonfinite, strict=True):
            times = np.ravel(getattr(nonfinite, direction))
            if (times >= 0).any():
                time = int(times[times >= 0][0])
                which = f" of {name}" if len(result.names) > 1 else ""
                return failure(
                    f"; going {direction}, the {what}{which} is first not finite at time index "
                    f"{time}; {remedy}",
                    time,
                    direction,
                )
    return failure(
        ", though every state and adjoint is finite; look at the inputs, at what the loss does "
        "with the outputs, and at the learning rate"
    )
