"""Training: it learns, it repeats itself, and it says where it broke."""

import gc
import itertools
import json
import os
import pickle
import pty
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import cells, from_step, training


@pytest.fixture(autouse=True)
def _relaxed():
    """Optax itself relies on promotion between integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


CELL = cells.elman(1, 4, dtype=jnp.float64)


def sample(key):
    x = jax.random.normal(key, (12, 8, 1), jnp.float64)
    return x, jnp.roll(x, 1, axis=0)


def loss(params, batch):
    x, y = batch
    _, h = rnnjax.unroll(CELL, params["cell"], x)
    return jnp.mean((h @ params["readout"] - y)[1:] ** 2)


def start():
    return {"cell": CELL.init(jax.random.key(0)), "readout": jnp.zeros((4, 1)), "tag": np.int32(7)}


def fit(**options):
    options = {"steps": 30, "key": jax.random.key(1), "chunk": 10, **options}
    return training.fit(loss, start(), sample, optax.adam(1e-2), **options)


def test_it_learns_and_leaves_integers_alone():
    result = fit(steps=300)
    assert result.losses.shape == (300,)
    assert result.losses[-20:].mean() < 0.1 < 0.8 < result.losses[0]
    assert result.params["tag"] == 7


def test_one_key_gives_one_result_whatever_the_chunk():
    first, second, other = fit(), fit(chunk=7), fit(key=jax.random.key(2))
    for a, b in zip(*(jax.tree.leaves(r.params) for r in (first, second)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(first.losses, second.losses, rtol=1e-12)
    assert not np.allclose(first.losses, other.losses)


def test_it_is_the_plain_optax_loop():
    params, key = start(), jax.random.key(1)
    tag = params.pop("tag")
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-2))
    state, losses = optimizer.init(params), []
    value_and_grad = jax.jit(jax.value_and_grad(lambda p, b: loss({**p, "tag": tag}, b)))
    for i in range(30):
        value, gradient = value_and_grad(params, sample(jax.random.fold_in(key, i)))
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(value)
    result = fit(clip=0.5)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-10)
    np.testing.assert_allclose(result.params["readout"], params["readout"], rtol=1e-10)


def test_a_bare_step_trains():
    cell = from_step(
        lambda params, h, x: params["a"] * h + x,
        init=lambda key: {"a": jnp.asarray(0.1, jnp.float64)},
        start=lambda params, batch: jnp.zeros((*batch, 1)),
    )

    def loss(params, batch):
        x, y = batch
        return jnp.mean((rnnjax.unroll(cell, params, x)[1] - y) ** 2)

    weights = np.tril(0.7 ** np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0))))

    def sample(key):
        x = jax.random.normal(key, (6, 16, 1), jnp.float64)
        return x, jnp.einsum("ts,sbd->tbd", weights, x)

    params, key = cell.init(jax.random.key(0)), jax.random.key(0)
    result = training.fit(loss, params, sample, optax.adam(0.05), steps=200, key=key)
    assert result.params["a"] == pytest.approx(0.7, abs=0.01)


def test_metrics_are_lines_of_json_with_the_monitor_in_them(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"before": 1}\n')
    monitor = training.gradient_monitor(
        CELL, sample(jax.random.key(3))[0], select=lambda params: params["cell"]
    )
    result = fit(monitor=monitor, metrics=path, steps=25)
    kept, *records = [json.loads(line) for line in path.read_text().splitlines()]
    assert kept == {"before": 1}
    assert [r["step"] for r in records] == [0, 10, 20, 25]
    assert records[1]["loss"] == pytest.approx(float(result.losses[:10].mean()))
    report = rnnjax.gradient_report(CELL, result.params["cell"], sample(jax.random.key(3))[0])
    assert records[-1]["rate"] == pytest.approx(float(jnp.median(report.rate)))
    assert records[-1]["horizon"] == pytest.approx(float(jnp.median(report.horizon)))
    assert records[-1]["gradient_norm"] > 0
    assert result.records == records


def test_a_monitor_watches_under_mask_and_resets():
    """The horizon of h = h / 2 + x is 7 steps; a reset is nearer, counted in valid steps."""
    cell = from_step(
        lambda params, h, x: params * h + x,
        init=lambda key: jnp.asarray(0.5),
        start=lambda params, batch: jnp.zeros((*batch, 1)),
    )
    resets = np.zeros((12, 2), bool)
    resets[8] = True
    mask = np.ones((12, 2), bool)
    mask[9:11] = False
    monitor = training.gradient_monitor(cell, jnp.ones((12, 2, 1)), mask=mask, resets=resets)
    assert jax.jit(monitor)(jnp.asarray(0.5)) == {"rate": -jnp.inf, "horizon": 2}


def test_json_stays_json_where_numbers_are_not_finite(tmp_path):
    fit(monitor=lambda p: {"horizon": jnp.inf}, metrics=tmp_path / "m", steps=1)
    first = (tmp_path / "m").read_text().splitlines()[0]
    assert json.loads(first, parse_constant=pytest.fail) == {
        "step": 0,
        "horizon": None,
        "finite": False,
    }


def broken(where):
    """Batches of which the fifth to be drawn is broken at time index 4."""

    def draw(key):
        x, y = sample(key)
        bad = jnp.array_equal(
            jax.random.key_data(key), jax.random.key_data(jax.random.fold_in(jax.random.key(1), 5))
        )
        hit = jnp.where(bad, jnp.nan, 0.0)
        return (x.at[4, 2].add(hit), y) if where == "input" else (x, y.at[4, 2].add(hit))

    return draw


@pytest.mark.parametrize(("where", "direction"), [("input", "forward"), ("target", "backward")])
def test_what_turns_non_finite_is_named(where, direction, tmp_path):
    path = tmp_path / "m"
    with pytest.raises(training.NonFiniteError) as caught:
        training.fit(
            loss, start(), broken(where), optax.adam(1e-2),
            steps=30, key=jax.random.key(1), chunk=10, metrics=path,
        )  # fmt: skip
    error = caught.value
    assert (error.step, error.time, error.direction) == (5, 4, direction)
    for part in ("loss: expected finite", "training step 5", "time index 4", direction, "look at"):
        assert part in str(error)
    # The parameters are those that the good steps left.
    good = fit(steps=5)
    np.testing.assert_allclose(error.params["readout"], good.params["readout"], rtol=1e-12)
    assert json.loads(path.read_text().splitlines()[-1]) == {
        "step": 5, "loss": None, "gradient_norm": None, "finite": False,
    }  # fmt: skip


def test_a_gradient_that_breaks_outside_the_recurrence_is_told_apart():
    def root(params, batch):
        # Finite itself, with an infinite derivative at zero.
        return loss(params, batch) + jnp.sqrt(params["readout"] ** 2).sum()

    with pytest.raises(training.NonFiniteError, match="a gradient or an update that is") as caught:
        training.fit(root, start(), sample, optax.sgd(1.0), steps=3, key=jax.random.key(0))
    assert (caught.value.step, caught.value.time, caught.value.direction) == (0, None, None)
    assert "though every state and adjoint is finite" in str(caught.value)


def test_the_error_survives_a_loss_whose_recurrence_cannot_be_seen():
    @jax.custom_vjp
    def own(params, batch):
        return loss(params, batch)

    own.defvjp(lambda *args: jax.vjp(loss, *args), lambda pullback, g: pullback(g))
    with pytest.raises(training.NonFiniteError, match="cannot be determined: loss: exp") as e:
        training.fit(own, start(), broken("input"), optax.sgd(0.1), steps=9, key=jax.random.key(1))
    assert (e.value.step, e.value.time) == (5, None)


def test_an_update_that_is_not_finite_is_not_made():
    rates = lambda count: jnp.where(count == 2, jnp.nan, 0.1)  # noqa: E731
    with pytest.raises(training.NonFiniteError, match="training step 2") as caught:
        training.fit(loss, start(), sample, optax.sgd(rates), steps=3, key=jax.random.key(0))
    assert np.isfinite(caught.value.params["readout"]).all()


def test_a_failure_in_a_later_chunk_has_its_own_numbers(tmp_path):
    """The loss and the gradient's norm of that step, and none of another's."""
    optimizer = optax.sgd(lambda count: jnp.where(count == 3, jnp.nan, 0.0))
    path = tmp_path / "metrics.jsonl"
    given = {"steps": 6, "key": jax.random.key(0), "chunk": 2}
    plain = training.fit(loss, start(), sample, optax.sgd(0.0), **given)
    with pytest.raises(training.NonFiniteError, match="training step 3"):
        training.fit(loss, start(), sample, optimizer, metrics=path, **given)
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["step"], last["loss"]) == (3, float(plain.losses[3]))


def test_the_error_goes_from_process_to_process():
    """With all that it knows."""
    with pytest.raises(training.NonFiniteError) as caught:
        training.fit(loss, start(), broken("input"), optax.sgd(0.1), steps=9, key=jax.random.key(1))
    error, again = caught.value, pickle.loads(pickle.dumps(caught.value))
    assert (again.step, again.time, again.direction) == (error.step, error.time, error.direction)
    assert str(again) == str(error)
    assert str(error).isascii()
    chex.assert_trees_all_equal(again.params, error.params)


@pytest.mark.parametrize("data", [sample, [sample(jax.random.key(0))] * 4])
def test_a_second_fit_compiles_nothing(data, compilations):
    """And one whose loss reads another number than before is compiled with that."""
    weight = 1.0

    def weighed(params, batch):
        return weight * loss(params, batch)

    def run(seed):
        optimizer = optax.adam(1e-2)
        given = {"steps": 4, "key": jax.random.key(seed), "clip": 1.0}
        return training.fit(weighed, start(), data, optimizer, **given).losses

    first = run(0)
    run(1)
    compilations.clear()
    np.testing.assert_array_equal(run(0), first)
    assert not compilations
    weight = 2.0
    np.testing.assert_allclose(run(0)[0], 2 * first[0])


def reread():
    """What a loss reads from outside, and what makes other numbers of it, by name."""
    held = {"array": np.ones(2), "jax": jnp.zeros(2), "scale": 1.0}

    def by_callback(value):
        shape = jax.ShapeDtypeStruct((2,), jnp.float64)
        return lambda w: jax.pure_callback(lambda w: np.asarray(w) * value, shape, w)

    held["call"] = by_callback(1.0)

    def donate():
        held["jax"] = jax.jit(lambda x: x + 4, donate_argnums=0)(held["jax"])

    return {
        "an array of numpy": (lambda w: w * held["array"], lambda: held["array"].fill(5)),
        "a callback": (lambda w: held["call"](w), lambda: held.update(call=by_callback(5.0))),
        "a sign": (
            lambda w: w * jnp.where(jnp.signbit(held["jax"]), 5.0, 1.0),
            lambda: held.update(jax=-held["jax"]),
        ),
        "what is donated": (lambda w: w * (held["jax"] + 1), donate),
    }


@pytest.mark.parametrize("name", ["an array of numpy", "a callback", "a sign", "what is donated"])
def test_what_a_loss_reads_counts_as_it_is_now(name):
    """Though the program looks the same when it is written out."""
    read, change = reread()[name]

    def reading(params, batch):
        return read(jax.lax.stop_gradient(params)).sum() + 0 * params.sum()

    def run():
        given = {"steps": 1, "key": jax.random.key(0), "quiet": True}
        return training.fit(reading, jnp.ones(2), lambda key: (), optax.sgd(0.1), **given).losses

    assert run() == 2
    change()
    assert run() == 10


def test_meshes_that_print_alike_are_others():
    """The loss of each fit runs on the devices that it names."""
    devices = jax.devices()
    spec = jax.sharding.PartitionSpec("x")

    def placed(params, batch):
        sharding = jax.sharding.NamedSharding(mesh, spec)
        return (jax.lax.with_sharding_constraint(params, sharding) ** 2).sum()

    for some in (devices[:2], devices[2:4]):
        mesh = jax.sharding.Mesh(np.array(some), ("x",))
        given = {"steps": 1, "key": jax.random.key(0), "quiet": True}
        found = training.fit(placed, jnp.ones(2), lambda key: (), optax.sgd(0.1), **given)
        assert found.params.sharding.device_set == set(some)


def test_nothing_goes_to_the_device_unasked():
    given = (loss, start(), sample, optax.adam(1e-2))
    key = jax.random.key(0)
    with jax.transfer_guard("disallow"):
        training.fit(*given, steps=3, key=key, chunk=2, clip=1.0)


@pytest.mark.parametrize("clip", [None, 10.0])
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05), sync_period=2, opaque_mode=True),
        optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau()),
    ],
    ids=["lbfgs", "sam", "plateau"],
)
def test_optimizers_that_ask_for_more_than_the_gradient(optimizer, clip):
    """A line search, a step ahead, and the loss."""
    batch = sample(jax.random.key(0))
    given = (loss, start(), lambda key: batch, optimizer)
    losses = training.fit(*given, steps=20, key=jax.random.key(1), clip=clip).losses
    assert losses[-1] < 0.95 * losses[0]


def test_complex_parameters_go_downhill():
    def square(params, batch):
        return jnp.abs(params - (1 + 1j)) ** 2

    result = training.fit(
        square, jnp.asarray(0j), lambda key: (), optax.sgd(0.1), steps=60, key=jax.random.key(0)
    )
    assert abs(result.params - (1 + 1j)) < 1e-4


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        (lambda p: {"loss": jnp.ones(())}, "names other than step, loss.*got 'loss': float64"),
        (lambda p: jnp.ones(()), "got '': float64"),
        (lambda p: {"rate": jnp.ones(3)}, r"got 'rate': float64\[3\].*take a mean"),
    ],
)
def test_monitors_give_named_scalars(monitor, message):
    with pytest.raises(TypeError, match=f"monitor: expected a mapping .*{message}"):
        fit(monitor=monitor)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda params, batch, key: 0.0,
            r"loss: expected a function of \(params, batch\), got .*; put what else it needs, such "
            "as a key for dropout, into the batch",
        ),
        (lambda params, batch, *, key: 0.0, r"loss: expected a function of \(params, batch\), "),
        (lambda params: 0.0, r"loss: expected a function of \(params, batch\), got the function"),
        (0.0, r"loss: expected a function of \(params, batch\), got 0\.0"),
        (lambda params, batch: batch[0], "loss: expected a floating scalar, got float64"),
        (lambda params, batch: (jnp.ones(()), 1), "pass `has_aux=True` if the second"),
        (lambda params, batch: (jnp.ones(()), 1, 2), "and return it alone"),
        (lambda params, batch: 0.5, r"got the Python number 0\.5; compute it from the parameters"),
    ],
)
def test_losses_that_cannot_be_trained(wrong, message):
    with pytest.raises(TypeError, match=message):
        training.fit(wrong, start(), sample, optax.sgd(0.1), steps=1, key=jax.random.key(0))


def forever():
    yield sample(jax.random.key(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": forever}, r"data: expected a sampler, got the function forever, a generator; "),
        (
            {"data": np.zeros((3, 4))},
            r"data: .*float64\[3,4\], which may be a single one; pass",
        ),
        ({"data": (np.zeros(3), np.zeros(3))}, r"data: .*which may be a single one"),
        ({"data": 5}, "data: expected an iterable of batches, or a sampler key -> batch, got 5"),
        ({"validate": lambda params: None}, "validate: expected a function that gives a scalar"),
        ({"validate": lambda params: "3"}, "validate: expected a function that gives a scalar"),
        (
            {"validate": lambda params: {"a": 1.0}},
            "validate: .*; take its mean, and",
        ),
    ],
)
def test_what_data_and_validation_are(given, message):
    given = {"data": sample, **given}
    with pytest.raises(TypeError, match=message):
        training.fit(loss, start(), given.pop("data"), optax.sgd(0.1), steps=1,
                     key=jax.random.key(0), **given)  # fmt: skip


def test_a_monitor_without_select_says_so():
    monitor = training.gradient_monitor(CELL, sample(jax.random.key(0))[0])
    with pytest.raises(TypeError, match="params: expected ElmanParams") as caught:
        fit(steps=1, monitor=monitor)
    assert "as by `lambda params: params['cell']`" in "".join(caught.value.__notes__)


def test_a_state_is_that_of_this_training():
    done = fit(steps=2)
    with pytest.raises(TypeError, match=r"params: .*TrainState, got a Fitted; pass its `\.state`"):
        training.fit(loss, done, sample, optax.adam(1e-2), steps=2)
    for other in (optax.sgd(1e-2), optax.sgd(1e-2, momentum=0.9)):
        with pytest.raises(TypeError, match=r"state: expected an optimizer_state .* for another"):
            training.fit(loss, done.state, sample, other, steps=2)


def test_a_key_is_a_key():
    with pytest.raises(ValueError, match=r"key: expected one key, got an array of shape \(2,\)"):
        fit(key=jax.random.split(jax.random.key(0)))
    with pytest.raises(TypeError, match=r"key: expected a key, got 0; pass jax.random.key\(seed\)"):
        fit(key=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": float("nan")}, "clip: expected a norm above zero, got nan"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"chunk": 0}, "chunk: expected at least 1, got 0"),
        ({"clip": 0.0}, "clip: expected a norm above zero, got 0.0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


SHAPE = (12, 8, 1)


def drawn(key):
    return jax.random.normal(key, SHAPE, jnp.float64)


def of_the_host():
    """Samplers that read what changes besides their key, with what the error names."""
    rng = np.random.default_rng(0)
    files = (np.full(SHAPE, float(i)) for i in itertools.count())
    single = iter([0.0])
    rows = jnp.arange(99.0)[:, None, None]
    lengths, buffer = iter(range(12, 0, -1)), np.zeros(SHAPE)
    return {
        "a generator": (lambda key: (rng.normal(size=SHAPE), drawn(key)), r"in \[0\] of \(float64"),
        "an iterator": (lambda key: {"x": next(files)}, r"in \['x'\] of {'x': float64"),
        "one batch": (lambda key: next(single) + drawn(key), "exhausted iterator"),
        "added to what is drawn": (lambda key: drawn(key) + next(files), "in its value of float64"),
        "a number": (lambda key: drawn(key) * rng.normal(), "in its value of float64"),
        "an index": (lambda key: rows[(i := int(rng.integers(50))) : i + 9], "in its value of"),
        "integers": (lambda key: (drawn(key), rng.integers(99, size=3)), r"in \[1\] of"),
        "a key": (lambda key: (jax.random.key(int(rng.integers(99))), key), r"in \[0\] of \(key"),
        "lengths": (
            lambda key: drawn(key)[: next(lengths)],
            r"float64\[12,8,1\], then float64\[11",
        ),
        "a buffer": (
            lambda key: drawn(key) + rng.random(out=buffer),
            r"a numpy array that was modified in between",
        ),
        "an inner jit": (
            lambda key: jax.jit(lambda k: drawn(k) + next(files))(key),
            "its value of",
        ),
    }


@pytest.mark.parametrize("name", of_the_host())
def test_a_sampler_that_changes_behind_the_key_is_refused(name):
    """Compiled once, it would give one batch for ever."""
    sample, told = of_the_host()[name]
    message = rf"^data: expected the same .* got .*{told}.*; draw the whole batch"
    with pytest.raises(ValueError, match=message):
        training.fit(loss, start(), sample, optax.sgd(0.1), steps=9, key=jax.random.key(0))


def test_a_batch_that_stays_is_a_batch():
    """NaN, keys and integers in it, and with what is drawn for nothing."""
    rng, calls = np.random.default_rng(0), []
    x = np.full(SHAPE, 0.5)

    def mean(params, batch):
        return loss(params, (batch["x"], batch["x"]))

    def same(key):
        calls.append(key)
        jnp.sin(rng.normal(size=3))
        return {
            "x": x, "not a number": np.where(x > 0, np.nan, x), "key": jax.random.key(1),
            "whole": np.arange(3, dtype=np.int8), "half": jnp.asarray(np.nan, jnp.bfloat16),
        }  # fmt: skip

    losses = training.fit(
        mean, start(), same, optax.sgd(0.1), steps=3, key=jax.random.key(0)
    ).losses
    assert losses[0] > losses[1] > losses[2]
    assert len(calls) == 3  # the last of them in the loop


def test_a_callback_gives_other_batches():
    """It is called at every step, not once."""
    files = (np.full(SHAPE, float(i)) for i in itertools.count())

    def read(key):
        batch = jax.experimental.io_callback(lambda: next(files), jax.typeof(drawn(key)))
        return batch, batch

    losses = training.fit(
        loss, start(), read, optax.sgd(0.0), steps=3, key=jax.random.key(0)
    ).losses
    np.testing.assert_allclose(losses, [0, 1, 4])


def test_a_monitor_that_changes_by_itself_is_refused():
    clock = itertools.count()
    with pytest.raises(ValueError, match=r"^monitor: expected the same .*\['seconds'\].*; compute"):
        fit(monitor=lambda params: {"seconds": next(clock) + 0 * params["readout"].sum()})


def window_loss(params, state, window, **options):
    x, y = window
    state, h = rnnjax.unroll(CELL, params["cell"], x, state, **options)
    return jnp.sum((jnp.sin(h) - y) ** 2) + jnp.sum(params["readout"] ** 2), state


# Moves nothing, and remembers the sum of the gradients.
STILL = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda g, total, params: (jax.tree.map(jnp.zeros_like, g), jax.tree.map(jnp.add, total, g)),
)


def stream(loss=window_loss, sequence=None):
    """Over four windows of three steps."""
    x, y = sample(jax.random.key(5)) if sequence is None else sequence
    windows = [tuple(np.asarray(v)[t : t + 3] for v in (x, y)) for t in range(0, 12, 3)]
    return training.stream(loss, start(), jnp.zeros((8, 4)), windows, STILL)


def test_a_stream_is_one_long_truncated_run(compilations):
    run = stream(lambda *args: window_loss(*args))
    seen = [next(run)]
    assert compilations
    compilations.clear()
    seen += run
    assert not compilations and len(seen) == 4

    x, y = sample(jax.random.key(5))
    params, zeros = start(), jnp.zeros((8, 4))
    h = rnnjax.states(CELL, params["cell"], x, zeros)
    np.testing.assert_allclose([done.state.carry for done in seen], h[2::3], rtol=1e-12)

    def whole(cell):
        fold = rnnjax.folds.truncated(window=3)
        return window_loss({**params, "cell": cell}, zeros, (x, y), fold=fold)[0]

    value, gradient = jax.value_and_grad(whole)(params["cell"])
    np.testing.assert_allclose(sum(done.loss for done in seen), value, rtol=1e-12)
    total = seen[-1].state.optimizer_state["cell"]
    for a, b in zip(jax.tree.leaves(total), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert seen[-1].params["tag"] == 7


def test_a_stream_of_another_batch_says_how_to_begin_anew():
    def last(params, state, window):
        state, outputs = rnnjax.unroll(CELL, params, window, state)
        return (outputs**2).mean(), state

    params = CELL.init(jax.random.key(0))
    windows = [jnp.ones((4, batch, 1)) for batch in (2, 2, 3)]
    run = training.stream(last, params, CELL.start(params, (2,)), windows, optax.sgd(0.1))
    assert next(run).loss >= next(run).loss
    with pytest.raises(ValueError, match=r"inputs: expected \[T, 2") as caught:
        next(run)
    assert "expected float64[4,2,1] as before" in "".join(caught.value.__notes__)


def test_a_stream_tells_where_it_broke():
    x, y = sample(jax.random.key(5))
    run = stream(sequence=(x.at[7, 2].set(jnp.nan), y))
    assert len([next(run), next(run)]) == 2
    with pytest.raises(training.NonFiniteError, match="training step 2; going forward") as caught:
        next(run)
    error = caught.value
    assert (error.step, error.time, error.direction) == (2, 1, "forward")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, r"loss: expected a function of \(params, carry, batch\), got None"),
        (lambda p, s, w, key: (0.0, s), r"of \(params, carry, batch\).*into the batch$"),
        (lambda p, s, w: jnp.sum(s), r"loss: expected \(scalar, .*, got float64\[\]; ret"),
        (lambda p, s, w: (jnp.sum(s), s[:1]), r"got \(float64\[\], float64\[1,4\]\)"),
        (lambda p, s, w: (s, s), r"a floating scalar, got float64\[8,4\]"),
    ],
)
def test_streams_that_cannot_be_trained(wrong, message):
    with pytest.raises(TypeError, match=message):
        next(stream(wrong))


# Going on -----------------------------------------------------------------------------


def batches(key, steps):
    return [sample(jax.random.fold_in(key, step)) for step in range(steps)]


def same(first, second):
    """To the bit, keys included."""
    raw = [
        jax.tree.map(
            lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
            jax.tree.map(jnp.asarray, tree),
        )
        for tree in (first, second)
    ]
    chex.assert_trees_all_equal(*raw)


@pytest.mark.parametrize("drawn", ["a sampler", "an iterable"])
@pytest.mark.parametrize("at", [20, 37])
def test_fifty_and_fifty_steps_are_a_hundred(drawn, at):
    """Bit for bit, and with the same records but for one where the first call ended."""
    key, optimizer = jax.random.key(3), optax.adam(optax.linear_schedule(1e-2, 0.0, 100))
    every = batches(key, 100)
    given = {"chunk": 20, "clip": 1.0, "quiet": True}
    data = sample if drawn == "a sampler" else every
    monitor = {"monitor": lambda params: {"readout": jnp.sum(params["readout"])}}
    whole = training.fit(loss, start(), data, optimizer, steps=100, key=key, **given, **monitor)
    first = training.fit(loss, start(), data, optimizer, steps=at, key=key, **given, **monitor)
    data = sample if drawn == "a sampler" else every[at:]
    second = training.fit(loss, first.state, data, optimizer, steps=100 - at, **given, **monitor)
    same(second.state, whole.state)
    assert int(second.state.step) == 100
    np.testing.assert_array_equal(np.concatenate([first.losses, second.losses]), whole.losses)
    steps = [record["step"] for record in whole.records]
    assert steps == [0, 20, 40, 60, 80, 100]
    both = first.records + second.records
    assert [r["step"] for r in both] == sorted({*steps, at})
    assert [r for r in both if r["step"] not in (at, 40)] == [
        r for r in whole.records if r["step"] not in (at, 40)
    ]


def test_a_sampler_and_the_batches_it_draws_train_alike():
    key = jax.random.key(4)
    of_sampler = fit(key=key)
    of_iterable = training.fit(loss, start(), iter(batches(key, 30)), optax.adam(1e-2))
    np.testing.assert_allclose(of_iterable.losses, of_sampler.losses, rtol=1e-12)
    assert int(of_iterable.state.step) == 30


def test_an_iterable_may_have_no_end_and_gives_no_more_than_is_asked():
    drawn = itertools.count()
    batch = sample(jax.random.key(0))
    endless = (batch for _ in drawn)
    assert len(training.fit(loss, start(), endless, optax.sgd(0.1), steps=7, chunk=3).losses) == 7
    assert next(drawn) == 7
    with pytest.raises(ValueError, match="data: expected at least one batch, got none"):
        training.fit(loss, start(), [], optax.sgd(0.1))


def test_train_yields_a_state_wherever_a_chunk_ends():
    optimizer = optax.adam(1e-2)
    begun = training.begin(start(), optimizer, key=jax.random.key(0))
    chunks = list(training.train(loss, begun, sample, optimizer, steps=25, chunk=10))
    assert [int(chunk.state.step) for chunk in chunks] == [10, 20, 25]
    assert [len(chunk.losses) for chunk in chunks] == [10, 10, 5]
    (rest,) = training.train(loss, chunks[1].state, sample, optimizer, steps=5)
    same(rest.state, chunks[2].state)
    assert chunks[2].state.params["tag"] == start()["tag"]


def test_what_the_loss_gives_besides_is_kept_and_logged():
    def told(params, batch):
        value = loss(params, batch)
        return value, {"root": jnp.sqrt(value), "square": {"of": value**2}, "rows": jnp.ones(3)}

    given = {"steps": 25, "chunk": 10, "has_aux": True}
    found = training.fit(told, start(), sample, optax.adam(1e-2), key=jax.random.key(0), **given)
    np.testing.assert_allclose(found.aux["root"] ** 2, found.losses, rtol=1e-12)
    assert found.aux["rows"].shape == (25, 3)
    assert found.records[1].keys() == {"step", "loss", "gradient_norm", "root", "square.of"}
    assert found.records[1]["root"] == pytest.approx(np.mean(found.aux["root"][10:20]))

    def single(params, batch):
        value = loss(params, batch)
        return value, value

    found = training.fit(single, start(), sample, optax.sgd(0.1), key=jax.random.key(0), **given)
    assert found.records[0]["aux"] == pytest.approx(found.records[0]["loss"])
    with pytest.raises(TypeError, match=r"loss: expected \(scalar, aux\), got float64\[\]; return"):
        training.fit(loss, start(), sample, optax.sgd(0.1), key=jax.random.key(0), **given)


def test_a_loss_that_hands_on_may_tell_besides():
    def told(params, state, window):
        value, state = window_loss(params, state, window)
        return value, (state, {"half": value / 2})

    x, y = sample(jax.random.key(5))
    run = training.stream(
        told, start(), CELL.start(start()["cell"], (8,)), [(x, y)] * 3, optax.sgd(0.1), has_aux=True
    )
    assert [float(done.aux["half"] * 2 / done.loss) for done in run] == pytest.approx([1, 1, 1])


def test_a_stream_goes_on_and_keeps_records(tmp_path):
    x, y = sample(jax.random.key(5))
    windows, optimizer = [(x * k, y) for k in range(1, 8)], optax.adam(1e-2)
    begin = CELL.start(start()["cell"], (8,))
    path = tmp_path / "metrics.jsonl"
    given = {"chunk": 3, "metrics": path, "clip": 1.0}
    given |= {"monitor": lambda params: {"readout": jnp.sum(params["readout"])}}
    whole = list(training.stream(window_loss, start(), begin, windows, optimizer, **given))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert lines[1]["loss"] == pytest.approx(np.mean([done.loss for done in whole[3:6]]))
    readout = float(jnp.sum(whole[5].params["readout"]))
    assert lines[1]["readout"] == pytest.approx(readout)
    second = training.stream(window_loss, whole[3].state, None, windows[4:], optimizer, clip=1.0)
    same(list(second)[-1].state, whole[-1].state)
    del given["metrics"]
    with pytest.raises(ValueError, match="monitor: expected to be given with `metrics`"):
        next(training.stream(window_loss, start(), begin, windows, optimizer, **given))


def test_training_ends_where_validation_gets_no_better_with_the_best_parameters():
    scores = iter([4.0, 3.0, 3.5, 2.0, 2.5, 2.0, 9.0, 1.0])
    seen = []

    def validate(params):
        seen.append(params)
        return next(scores)

    given = {"steps": 100, "chunk": 10, "every": 4, "validate": validate, "patience": 3}
    found = fit(**given)
    assert [r["step"] for r in found.records if "validation" in r] == [*range(4, 32, 4)]
    assert int(found.state.step) == 28 and len(found.losses) == 28
    same(found.params, seen[3])
    same(found.state.params, seen[-1])
    # One record a step, with the loss since the last one.
    assert [r["step"] for r in found.records] == sorted({10, 20, *range(4, 32, 4)})
    assert all("loss" in record for record in found.records)
    first = fit(steps=10)
    steady = fit(steps=30, validate=lambda params: -1.0)
    assert [r["validation"] for r in steady.records] == [-1.0, -1.0, -1.0]
    same(steady.params, first.params)


def test_validation_comes_at_the_end_wherever_that_is():
    """Of an iterable that ends early the end is not known beforehand."""
    every = batches(jax.random.key(4), 13)
    score = jax.jit(lambda params: loss(params, every[0]))
    for options in ({}, {"steps": 100}, {"every": 5}, {"every": 13}, {"every": 5, "chunk": 4}):
        found = training.fit(
            loss, start(), iter(every), optax.adam(1e-2), validate=score, **options
        )
        assert int(found.state.step) == 13
        same(found.params, found.state.params)
        steps = [record["step"] for record in found.records if "validation" in record]
        assert steps == sorted(set(steps)) and steps[-1] == 13
    found = fit(steps=20, validate=lambda params: jnp.nan)
    same(found.params, found.state.params)


def test_one_step_more_is_the_same_step():
    whole, most = fit(steps=30), fit(steps=29)
    one = training.fit(loss, most.state, sample, optax.adam(1e-2), steps=1, chunk=10)
    same(one.state, whole.state)


@pytest.mark.parametrize("way", ["fit", "stream"])
def test_no_state_but_the_last_is_held(way, tmp_path):
    """Parameters and what the optimiser knows of them, once a chunk, would fill the memory."""
    held = []

    def count(*_):
        gc.collect()
        held.append(sum(array.shape == (4, 4) for array in jax.live_arrays()))  # as W_hh

    if way == "fit":
        fit(steps=40, chunk=5, callback=count)
    else:
        x, y = sample(jax.random.key(5))
        begin = CELL.start(start()["cell"], (8,))
        given = {"chunk": 100, "metrics": tmp_path / "metrics.jsonl"}
        windows = [(np.asarray(x), np.asarray(y))] * 8
        for _ in training.stream(window_loss, start(), begin, windows, optax.adam(1e-2), **given):
            count()
    assert held[-1] <= held[2]


def test_a_callback_sees_every_record_and_its_state():
    seen = []
    found = fit(steps=25, callback=lambda state, record: seen.append((state, record)))
    assert [record for _, record in seen] == found.records
    assert [int(state.step) for state, _ in seen] == [10, 20, 25]
    same(seen[-1][0], found.state)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": None}, ValueError, "steps: expected with a sampler, got None; pass a number"),
        ({"key": None}, ValueError, "key: expected with a sampler, got None; pass jax"),
        ({"every": 3}, ValueError, "every, patience: expected to be given with `validate`, got 3"),
        ({"patience": 3}, ValueError, "every, patience: expected to be given with `validate`"),
        ({"validate": lambda p: p["readout"]}, TypeError, "validate: expected a function that giv"),
        ({"validate": 3}, TypeError, "validate: expected a function of"),
        (
            {"callback": lambda state: 0},
            TypeError,
            r"callback: expected a function of \(state, rec",
        ),
        ({"has_aux": "no"}, TypeError, "has_aux: expected True or False"),
    ],
)
def test_options_that_do_not_go_together(options, error, message):
    with pytest.raises(error, match=message):
        fit(**options)


def test_a_state_has_a_key_and_a_carry_of_its_own():
    begun = training.begin(start(), optax.adam(1e-2), key=jax.random.key(0))
    with pytest.raises(ValueError, match="key: expected None with a TrainState, which has its own"):
        training.fit(loss, begun, sample, optax.adam(1e-2), steps=3, key=jax.random.key(0))
    with pytest.raises(ValueError, match="carry: expected None with a TrainState"):
        next(training.stream(window_loss, begun, 1.0, [], optax.adam(1e-2)))
    with pytest.raises(ValueError, match="carry: expected what the first window begins with, got"):
        next(training.stream(window_loss, begun, None, [], optax.adam(1e-2)))
    with pytest.raises(TypeError, match="state: expected a TrainState, got a dict; make one by"):
        next(training.train(loss, start(), sample, optax.adam(1e-2)))


SCRIPT = """
import jax, jax.numpy as jnp, optax, rnnjax
from rnnjax import cells, training
cell = cells.elman(1, 2)
training.fit(
    lambda p, x: jnp.mean(rnnjax.unroll(cell, p, x)[1] ** 2), cell.init(jax.random.key(0)),
    lambda key: jax.random.normal(key, (3, 1)), optax.sgd(0.1),
    steps=4, key=jax.random.key(0), chunk=2, description="learning",
)
"""


@pytest.mark.slow
def test_the_bar_is_for_terminals_only():
    piped = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert (piped.stdout, piped.stderr) == ("", "")
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=end, check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(end)
    shown = os.read(terminal, 1 << 16).decode(errors="replace")
    os.close(terminal)
    assert "learning: loss" in shown
