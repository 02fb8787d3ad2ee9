"""Training: many steps compiled into one call, watched from outside."""

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
    as_int,
    as_number,
    as_path,
    as_text,
    check_arrays,
    check_function,
    check_key,
    kind_of,
)
from rnnjax._programs import Fingerprint, compiled
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
    """Where a training stands: all that the next step depends on, besides the data.

    Attributes:
      params: any pytree; leaves that are not floating stay as they are.
      optimizer_state: optax's, of the floating leaves.
      carry: what the loss hands on from step to step, as the state of a recurrence; None
        where it hands on nothing.
      step: how many steps were taken.
      key: what a sampler draws from, by `fold_in` of the step; None without one.
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
      carry: what the loss is handed first, None if nothing.
      key: for a sampler.

    Raises:
      TypeError: the optimizer is none, the key no key, or `params` or `carry` hold other
        things than arrays.
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
    """What some steps of training give.

    Attributes:
      state: after them.
      losses: `[n]`, each before its update.
      gradient_norms: `[n]`, before clipping.
      aux: of the loss, leaves `[n, ...]`; None unless it has any.
    """

    state: TrainState
    losses: np.ndarray
    gradient_norms: np.ndarray
    aux: Any


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or an update turned infinite or NaN; it was not applied.

    Attributes:
      state: before that step.
      time: the time index at which it began, or None where every state and adjoint is
        finite, or where the loss runs no recurrence that can be seen.
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
        # By default pickle makes an exception of its message alone.
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
    """Trains chunk by chunk: the loop of `fit` and `stream`, for a loop of your own around it.

        batch = sample(fold_in(key, step))                      or the next of an iterable
        L, carry = loss(params, carry, batch)
        params += optimizer(∂L / ∂params),   carry before the step held constant

    A chunk ends where the number of steps is a multiple of `chunk`, wherever it began, and
    where training does: what goes on from the state of another call takes the same steps as
    one call would, bit for bit. A chunk of a sampler is compiled into one call; of an
    iterable each step is, once for batches of one shape.

    Args:
      loss: `loss(params, batch) -> scalar`, or where the state has a carry
        `loss(params, carry, batch) -> (scalar, carry)`; pure. With `has_aux`
        `(scalar, aux)` and `(scalar, (carry, aux))`. Should it turn non-finite,
        `rnnjax.adjoints` tells where. A key, as dropout needs one, is a part of the batch.
      state: of `begin`, or of a chunk.
      data: a sampler `key -> batch`, pure, compiled, and so called no more than a few times;
        it may give one batch whatever the key. Or an iterable of batches, possibly without
        an end, each drawn when it is needed.
      optimizer: any optax optimiser; those that search along a line (`optax.lbfgs`), look
        ahead (`optax.contrib.sam`) or wait for the loss are given what they ask for.
        `optax.apply_if_finite` finds nothing to skip: what is not finite is an error.
      steps: how many updates; by default as many as an iterable has batches.
      chunk: steps in a chunk, at most.
      clip: largest global norm of the gradient; by default it is not clipped.
      has_aux: whether the loss gives something besides, as in `jax.grad`.

    Yields:
      A `Chunk`. The gradient of a complex parameter is conjugated, so that it points uphill.

    Raises:
      NonFiniteError: the loss, a gradient or an update turned non-finite.
      TypeError: the loss is no function of its arguments or gives something else, the
        carry it gives differs from the one it was given, a batch holds other things than
        arrays, or an argument is of another kind.
      ValueError: steps or chunk below one, clip not above zero, a sampler without a key or
        without `steps`, or one that gives something else when it is called once more.
    """
    if not isinstance(state, TrainState):
        raise TypeError(
            f"state: expected a TrainState, got {kind_of(state)}; make one by "
            "`training.begin(params, optimizer)`"
        )
    borders = (_at_least_one("chunk", chunk),)
    stop = _stop(state, steps)
    yield from _chunks("data", loss, state, data, optimizer, borders, stop, clip, has_aux)


class Fitted(NamedTuple):
    """What training leaves.

    Attributes:
      params: those of the best validation, or the last ones where nothing is validated.
      state: where training ended, to go on from.
      losses: `[steps]`, each before its update.
      aux: of the loss, leaves `[steps, ...]`; None unless it has any.
      records: what the metrics file holds, a mapping a line.
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

    The same key gives the same result, in one call or in several that go on from the state
    of the one before.

    Args:
      loss: as in `train`.
      params: any pytree, or a `TrainState` to go on from, which may have a carry.
      data: as in `train`.
      optimizer: as in `train`.
      steps: as in `train`.
      key: what a sampler draws from; a `TrainState` has its own.
      chunk: as in `train`; a record is made at the end of each.
      clip: as in `train`.
      has_aux: as in `train`.
      monitor: `params -> mapping of names to scalars`, pure and compiled like a sampler,
        recorded at the start and after every chunk; see `gradient_monitor`.
      validate: `params -> scalar`, the lower the better, on data that is not trained on;
        called where the number of steps is a multiple of `every`, and at the end, and
        recorded as "validation".
      every: steps between two validations; by default `chunk`.
      patience: training ends after so many validations in a row that were not the best yet.
      callback: `(state, record)`, called after every record.
      metrics: a JSON Lines file to append the records to: step, loss (the mean since the last
        record), the gradient's norm (the largest, before clipping), the means of the
        scalars in `aux`, those of the monitor, and the validation. What is not finite is
        written as null, beside `"finite": false`.
      description: what the progress bar says.
      quiet: no progress bar; there is none either where standard error is not a
        terminal.

    Returns:
      `Fitted`.

    Raises:
      NonFiniteError: as `train`.
      TypeError: as `train`; `monitor` does not give named scalars, `validate` no scalar, or
        an option is of another kind.
      ValueError: as `train`; `monitor` gives something else when it is called once more,
        `every` or `patience` is below one, or given without `validate`, or a key comes with a
        `TrainState`.
    """
    quiet, description = as_bool("quiet", quiet), as_text("description", description)
    metrics = None if metrics is None else as_path("metrics", metrics)
    chunk = _at_least_one("chunk", chunk)
    patience = None if patience is None else _at_least_one("patience", patience)
    if validate is None and (every is not None or patience is not None):
        raise ValueError(
            f"every, patience: expected to be given with `validate`, got {every} and {patience}; "
            "pass a function of the parameters to validate by"
        )
    every = chunk if every is None else _at_least_one("every", every)
    if callback is not None:
        check_function("callback", callback, "state, record", "pass one that looks at them")
    state = _begun(params, optimizer, None, key)
    begun, stop = int(state.step), _stop(state, steps)
    borders = (chunk,) if validate is None else (chunk, every)
    watch, score = _watched(loss, monitor, state.params), _validated(validate)
    chunks = _chunks("data", loss, state, data, optimizer, borders, stop, clip, has_aux)
    runs: list[Chunk] = []
    tally = _Tally()
    best, best_params, waited = math.inf, state.params, 0
    steps = None if stop is None else stop - begun
    with Records(metrics) as log, _failures(log), progress(steps, description, quiet) as advance:

        def validated() -> Record:
            nonlocal best, best_params, waited
            step = int(state.step)
            if validate is None or not (step % every == 0 or step == stop):
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

        if begun == 0:  # Where training goes on there is a record already.
            keep(watch(state.params))
        for run in chunks:
            state = run.state
            runs.append(run)
            tally.add(run)
            advance(len(run.losses), float(run.losses.mean()))
            ends = int(state.step) % chunk == 0 or int(state.step) == stop
            numbers = tally.numbers() | watch(state.params) if ends else {}
            keep(numbers | validated())
            if patience is not None and waited >= patience:
                break
        if tally.runs:
            keep(tally.numbers() | watch(state.params))
    if not runs:
        raise ValueError("data: expected at least one batch, got none; pass a list or a generator")
    losses, aux = _joined([run.losses for run in runs]), _joined([run.aux for run in runs])
    params = state.params if validate is None else best_params
    return Fitted(params, state, jax.device_put(losses), aux, list(log))


class Streamed(NamedTuple):
    """Where `stream` stands after a window.

    Attributes:
      state: this window's update included; its carry is what the next window begins with.
      loss: of this window, before its update.
      aux: of the loss, None unless it has any.
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
      loss: `loss(params, carry, window) -> (scalar, carry)`, as in `train`.
      params: any pytree, or a `TrainState` to go on from, which has a carry of its own.
      carry: what the first window begins with; any pytree, `cell.start(params, (B,))`
        for one recurrence; None with a `TrainState`.
      windows: the sequence, window by window, each a pytree that the loss understands;
        drawn as they are needed, and possibly without an end.
      optimizer: as in `train`.
      chunk: windows between two records.
      clip: as in `train`.
      has_aux: as in `train`.
      monitor: as in `fit`.
      metrics: as in `fit`.

    Yields:
      `Streamed` after each window; stop by drawing no more.

    Raises:
      NonFiniteError: as `train`; its step counts windows, and its time index steps of
        that window.
      TypeError: as `fit`.
      ValueError: as `fit`; there is no carry.
    """
    metrics = None if metrics is None else as_path("metrics", metrics)
    chunk = _at_least_one("chunk", chunk)
    state = _begun(params, optimizer, carry, None)
    if state.carry is None:
        raise ValueError(
            "carry: expected what the first window begins with, got None; pass "
            "`cell.start(params, (B,))`, or train by `fit` where nothing is handed on"
        )
    watch = _watched(loss, monitor, state.params)
    iterator = _iterable("windows", windows)
    chunks = _chunks("windows", loss, state, iterator, optimizer, (1,), None, clip, has_aux)
    tally = _Tally()
    with Records(metrics) as log, _failures(log):
        for run in chunks:
            if metrics is not None:
                tally.add(run)
                if int(run.state.step) % chunk == 0:
                    log.write(int(run.state.step), tally.numbers() | watch(run.state.params))
            aux = jax.tree.map(lambda leaf: leaf[0], run.aux)
            yield Streamed(run.state, jax.device_put(run.losses[0]), aux)


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


def _begun(
    params: Params | TrainState,
    optimizer: optax.GradientTransformation,
    carry: Any,
    key: jax.Array | None,
) -> TrainState:
    """The state to go on from, or to begin with."""
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
    """How many steps are taken at the end; None where the data tell."""
    return None if steps is None else int(state.step) + _at_least_one("steps", steps)


def _at_least_one(name: str, count: int) -> int:
    count = as_int(name, count)
    if count < 1:
        raise ValueError(f"{name}: expected at least 1, got {count}")
    return count


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
    """The optimizer of a gradient whose global norm is at most `clip`.

    `optax.chain` would hand what an optimizer asks for by name to the clipping as well, and
    what each of the two takes could not be told.
    """
    if clip is None:
        return optimizer
    if not as_number("clip", clip) > 0:
        raise ValueError(f"clip: expected a norm above zero, got {clip}; None does not clip")
    clipping = optax.clip_by_global_norm(clip)

    @wraps(optimizer.update)  # whose parameters are looked at
    def update(updates: Params, state: Any, params: Params | None = None, **more: Any) -> Any:
        updates, _ = clipping.update(updates, optax.EmptyState())
        return optimizer.update(updates, state, params, **more)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


# The loss as `(params, carry, batch) -> (scalar, (carry, aux))`.
_Loss = Callable[[Params, Any, Any], tuple[jax.Array, tuple[Any, Any]]]


def _normal(loss: Callable[..., Any], hands_on: bool, has_aux: bool) -> _Loss:
    """The loss in one form, which checks what it gives where it is traced.

    Raises:
      TypeError: it is no function of these arguments.
    """
    arguments = "params, carry, batch" if hands_on else "params, batch"
    remedy = "put what else it needs, such as a key for dropout, into the batch"
    check_function("loss", loss, arguments, remedy)

    def normal(params: Params, carry: Any, batch: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        result = loss(params, carry, batch) if hands_on else loss(params, batch)
        others = [describe(carry)] * hands_on + ["aux"] * has_aux
        wanted = others[0] if len(others) == 1 else f"({', '.join(others)})"
        wrong = TypeError(
            f"loss: expected (scalar, {wanted}), got {describe(result)}; return the value, and "
            + ("what the next step begins with, as it came" if hands_on else "what to keep of it")
        )

        def pair(value: Any) -> Any:
            if not isinstance(value, tuple) or len(value) != 2:
                raise wrong
            return value

        scalar, rest = pair(result) if others else (result, None)
        new, aux = pair(rest) if hands_on and has_aux else (rest, rest)
        if hands_on and signature(new) != signature(carry):
            raise wrong
        check_scalar(scalar)
        return scalar, (new if hands_on else carry, aux if has_aux else None)

    return normal


class _Step(NamedTuple):
    """What one step gives besides the next state."""

    loss: jax.Array
    gradient_norm: jax.Array
    aux: Any
    bad: jax.Array


def _step(
    loss: _Loss, optimizer: optax.GradientTransformationExtraArgs, state: TrainState, batch: Any
) -> tuple[TrainState, _Step]:
    """The next state, and whether anything in it is bad."""
    fixed, moving = rest(state.params), floating(state.params)

    def of_moving(moving: Params) -> tuple[jax.Array, tuple[Any, Any]]:
        return loss(combine(moving, fixed), state.carry, batch)

    def uphill(params: Params, *_: Any) -> Params:
        return jax.tree.map(jnp.conj, jax.grad(of_moving, has_aux=True)(params)[0])

    (value, (carry, aux)), gradient = jax.value_and_grad(of_moving, has_aux=True)(moving)
    conjugate = jax.tree.map(jnp.conj, gradient)
    # Those that search along a line, look ahead or wait for the loss ask for more.
    more = {
        "value": value,
        "grad": conjugate,
        "value_fn": lambda params: of_moving(params)[0],
        "grad_fn": uphill,
    }
    parameters = inspect.signature(optimizer.update).parameters
    asked = set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        asked |= {"value", "grad", "value_fn"}
    given = {name: x for name, x in more.items() if name in asked}
    updates, inner = optimizer.update(conjugate, state.optimizer_state, moving, **given)
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

    `name` is that of the data, in errors.
    """
    normal = _normal(loss, state.carry is not None, as_bool("has_aux", has_aux))
    step = partial(_step, normal, _clipped(clip, _check_optimizer(optimizer)))
    fixed, state = rest(state.params), jax.device_put(state)
    if callable(data):
        chunks = _sampled(name, loss, normal, step, state, data, borders, stop)
    else:
        chunks = _drawn(name, normal, step, state, _iterable(name, data), borders, stop)
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
    """Each chunk one call."""
    if stop is None or state.key is None:
        missing, remedy = ("steps", "a number") if stop is None else ("key", "jax.random.key(seed)")
        raise ValueError(f"{missing}: expected with a sampler, got None; pass {remedy}")
    check_function(name, sample, "key", "pass one that draws a batch, or an iterable of batches")
    batch = _check_repeats(name, sample, state.key)
    jax.eval_shape(normal, state.params, state.carry, batch)
    begun = int(state.step)

    def draw(state: TrainState) -> Any:
        assert state.key is not None
        return sample(jax.random.fold_in(state.key, state.step))

    # One length, so that one loop is compiled.
    size = min(*borders, stop - begun)

    def run(state: TrainState, last: jax.Array) -> tuple[TrainState, _Step]:
        def body(carry: tuple[TrainState, jax.Array], _: None) -> Any:
            state, bad = carry
            after, done = step(state, draw(state))
            # From the first failure on, and beyond the last step, everything stays as it was.
            goes_on = ~bad & (state.step < last)
            bad = bad | (goes_on & done.bad)
            after = jax.tree.map(partial(jnp.where, goes_on & ~bad), after, state)
            return (after, bad), done._replace(bad=bad)

        (state, _), done = lax.scan(body, (state, jnp.zeros((), bool)), length=size)
        return state, done

    # Put there in so many words: a transfer guard lets no number of Python through.
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
    normal: _Loss,
    step: Callable[[TrainState, Any], tuple[TrainState, _Step]],
    state: TrainState,
    batches: Iterator[Any],
    borders: tuple[int, ...],
    stop: int | None,
) -> Iterator[Chunk]:
    """Each step one call, compiled for batches of one shape."""
    begun, update, before = int(state.step), jax.jit(step), None
    for last in _ends(begun, borders, stop):
        taken: list[_Step] = []
        for batch in itertools.islice(batches, last - begun):
            check_arrays(name, batch)
            if before is None:
                jax.eval_shape(normal, state.params, state.carry, batch)
            try:
                after, done = update(state, batch)
            except (TypeError, ValueError) as error:
                if before is not None and signature(batch) != signature(before):
                    error.add_note(
                        f"{name}: expected {describe(before)} as before, for which the state "
                        f"is, got {describe(batch)}; with another batch, begin again at "
                        "`cell.start(params, batch_shape)` and with these parameters"
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
    try:
        return iter(data)
    except TypeError as error:
        kinds = "an iterable of batches" + (", or a sampler key -> batch" if name == "data" else "")
        raise TypeError(
            f"{name}: expected {kinds}, got {kind_of(data)}; pass a list or a generator"
        ) from error


class _Tally:
    """What a record says of the chunks since the last one."""

    def __init__(self) -> None:
        self.runs: list[Chunk] = []

    def add(self, run: Chunk) -> None:
        self.runs.append(run)

    def numbers(self) -> Record:
        """Of the chunks added since it was last asked."""
        losses = np.concatenate([run.losses for run in self.runs])
        norms = np.concatenate([run.gradient_norms for run in self.runs])
        means = {}
        for path, leaf in jax.tree.leaves_with_path(_joined([run.aux for run in self.runs])):
            if leaf.ndim == 1:
                place = jax.tree_util.keystr(path, simple=True, separator=".")
                means[place or "aux"] = leaf.mean()
        self.runs.clear()
        return {
            "loss": float(losses.mean()),
            "gradient_norm": float(norms.max()),
            **scalars("aux", means),
        }


def _joined(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


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
    given, fixed = monitor, rest(params)
    _check_repeats("monitor", lambda moving: given(combine(moving, fixed)), floating(params))
    watch = compiled(loss, lambda params: given(params), params)
    return lambda params: scalars("monitor", watch(params))


def _validated(validate: Callable[[Params], Any] | None) -> Callable[[Params], Record]:
    """The validation as `params -> record`."""
    if validate is None:
        return lambda params: {}
    check_function("validate", validate, "params", "pass one that gives a scalar")
    given = validate

    def score(params: Params) -> Record:
        value = given(params)
        if jnp.ndim(value) != 0:
            raise TypeError(
                f"validate: expected a function that gives a scalar, got {describe(value)}; take "
                "its mean"
            )
        return {"validation": float(value)}

    return score


def _check_repeats(name: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """The shapes that a function gives, which is to be compiled, and so called only once.

    What it reads besides its argument, and what changes meanwhile, would stay as it was then.

    Raises:
      ValueError: called once more it gives something else.
    """

    def trace() -> Any:
        # A function of its own: JAX remembers what it made of the last.
        return jax.make_jaxpr(lambda given: function(given), return_shape=True)(argument)

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


def _explained(normal: _Loss, state: TrainState, batch: Any, done: _Step) -> NonFiniteError:
    """Repeats the step that failed, and asks it where."""
    value = float(done.loss)
    came = f"a loss of {value}"
    if math.isfinite(value):
        came = f"a gradient or an update that is infinite or NaN (at {came})"
    begins = f"loss: expected finite values, got {came} in training step {int(state.step)}"

    def failure(text: str, time: int | None = None, direction: str | None = None) -> NonFiniteError:
        norm = float(done.gradient_norm)
        return NonFiniteError(f"{begins}{text}", state, time, direction, value, norm)

    try:
        found = adjoints(lambda *args: normal(*args)[0], state.params, state.carry, batch)
    except ValueError as error:
        return failure(f"; at which time index cannot be told: {error}")
    for direction, what, remedy in (
        ("forward", "state", "look at its input, lower the learning rate, or clip the gradient"),
        ("backward", "adjoint dL/ds_t", "look at the target there, or clip the gradient"),
    ):
        for name, nonfinite in zip(found.names, found.nonfinite, strict=True):
            times = np.ravel(getattr(nonfinite, direction))
            if (times >= 0).any():
                time = int(times[times >= 0][0])
                which = f" of {name}" if len(found.names) > 1 else ""
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
