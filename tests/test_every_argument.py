"""Every argument of every public function, given what is wrong for it.

Each error names the argument, what was expected and what came.
"""

import importlib.util
import inspect
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from laws import CELLS, FACTORIES, initialisers_of
from matplotlib import pyplot as plt

import rnnjax
from rnnjax import cells, folds, initializers, layers, plots, training
from rnnjax.interop import equinox, files, flax, haiku, keras, names, torch
from rnnjax.interop import linen as linen_modules

T, B, D, H = 5, 2, 3, 4
KEY = jax.random.key(0)
CELL = cells.gru(D, H)
LAYER = layers.recurrent(CELL)
PARAMS, X = CELL.init(KEY), jnp.ones((T, B, D))
STATE = CELL.start(PARAMS, (B,))

# Nothing that any argument expects, but for those that `TAKEN` lists.
WRONG: dict[str, Any] = {
    "None": None,
    "word": "wrong",
    "half": 2.5,
    "negative": -1,
    "True": True,
    "list": [1, 2],
    "pair": (1, 2),
    "object": object(),
    "function": lambda: None,
    "type": int,
    "array": np.ones((7,) * 5, np.float32),
    "words": np.array(["a"]),
    "dict": {"a": 1.0},
    "cell": CELL,
    "layer": LAYER,
    "params": cells.lstm(D, H).init(KEY),
    "factory": folds.scan,
    "nan": float("nan"),
}


class Call(NamedTuple):
    """A call that is right.

    Attributes:
      function: takes every argument by name.
      given: the arguments.
      use: what is done with the result, where an argument shows only then.
    """

    function: Callable[..., Any]
    given: dict[str, Any]
    use: Callable[[Any], Any] = lambda result: result


def loss(params: Any, x: Any) -> jax.Array:
    """The mean of the outputs."""
    return rnnjax.unroll(CELL, params, x)[1].mean()


def window_loss(params: Any, state: Any, x: Any) -> Any:
    """The same of a window."""
    state, outputs = rnnjax.unroll(CELL, params, x, state)
    return outputs.mean(), state


def bare_step(params: Any, state: Any, x: Any) -> Any:
    """h_t = tanh(h_{t-1} W + x_t)."""
    return jnp.tanh(state @ params + x)


def run(cell: rnnjax.Cell) -> Any:
    """A cell over inputs as wide as its parameters say."""
    return rnnjax.unroll(cell, cell.init(KEY), X)


def over(*left_out: str, **more: Any) -> dict[str, Any]:
    """What takes a cell over a sequence."""
    given = {"cell": CELL, "params": PARAMS, "inputs": X, "state": None, "mask": None,
             "resets": None, "reverse": False, "probes": None, "fold": folds.scan(), "name": "",
             **more}  # fmt: skip
    return {name: value for name, value in given.items() if name not in left_out}


def fold_calls() -> Iterator[tuple[Any, Call]]:
    """Of everything that makes folds."""
    newton = {"tolerance": None, "max_iterations": None, "linearise": folds.dense}
    for make, given in (
        (folds.blocked, {"size": None}),
        (folds.stored, {}),
        (folds.default, {}),
        (folds.checkpointed, {"segments": None, "budget_bytes": None, "fold": folds.scan()}),
        (folds.parallel, newton),
        (folds.scan, {"unroll": 1}),
        (folds.truncated, {"window": 2, "fold": folds.scan()}),
    ):
        yield make, Call(make, given, lambda fold: rnnjax.unroll(CELL, PARAMS, X, fold=fold))
    begin = {"cell": CELL, "params": PARAMS, "inputs": X, "state": STATE}
    yield folds.newton, Call(folds.newton, {**begin, **newton})


def cell_calls() -> Iterator[tuple[Any, Call]]:
    """Of everything that makes cells."""
    for make in FACTORIES:
        given = {p.name: p.default for p in inspect.signature(make).parameters.values()}
        given |= {"input_size": D, "hidden_size": H}
        given |= dict.fromkeys(initialisers_of(make), jax.nn.initializers.normal())
        yield make, Call(make, given, run)
    bare = {
        "step": bare_step,
        "init": lambda key: jnp.eye(D),
        "start": lambda params, batch: jnp.zeros((*batch, D)),
        "output": None,
        "feature_axes": None,
    }
    yield rnnjax.from_step, Call(rnnjax.from_step, bare, run)


def initializer_calls() -> Iterator[tuple[Any, Call]]:
    """Of everything that makes initialisers."""
    orthogonal = jax.nn.initializers.orthogonal()
    for make, given in (
        (initializers.by_gate, {"init": orthogonal, "gates": 2}),
        (initializers.checked, {"name": "init", "init": orthogonal}),
        (initializers.chrono, {"longest": 10.0, "forget": 0, "remember": None}),
        (initializers.scaled_identity, {"scale": 1.0}),
    ):
        yield make, Call(make, given, lambda init: init(KEY, (8, 8), jnp.float32))


def layer_calls() -> Iterator[tuple[Any, Call]]:
    """Of everything that makes layers, and of what they do."""
    same = layers.recurrent(cells.gru(D, D))

    def apply(layer: layers.Layer) -> Any:
        return layer.apply(layer.init(KEY), X, key=KEY)

    for make, given in (
        (layers.recurrent, {"cell": CELL, "fold": folds.scan()}),
        (layers.bidirectional, {"forward": LAYER, "backward": LAYER, "merge": jnp.add}),
        (layers.backward, {"layer": LAYER}),
        (layers.dropout, {"layer": LAYER, "rate": 0.1}),
    ):
        yield make, Call(make, given, apply)
    yield layers.residual, Call(layers.residual, {"layer": same})
    yield layers.stack, Call(partial(layers.stack, LAYER), {"dropout": 0.1}, apply)
    yield layers.drop, Call(layers.drop, {"tree": X, "rate": 0.1, "key": KEY})
    yield layers.streaming, Call(layers.streaming, {"layer": LAYER})


def recurrence_calls() -> Iterator[tuple[Any, Call]]:
    """Of what runs and measures recurrences."""
    yield rnnjax.unroll, Call(rnnjax.unroll, over())
    yield rnnjax.states, Call(rnnjax.states, over())
    yield (
        rnnjax.step,
        Call(rnnjax.step, {"cell": CELL, "params": PARAMS, "state": STATE, "x": X[0]}),
    )
    yield rnnjax.gradient_report, Call(rnnjax.gradient_report, over(directions=2))
    yield rnnjax.step_jacobians, Call(rnnjax.step_jacobians, over())
    spectrum = rnnjax.jacobian_product_spectrum
    yield spectrum, Call(spectrum, over(block=lambda state: state))

    def reports(model: Any, params: Any, directions: Any) -> Any:
        return rnnjax.gradient_reports(model, params, X, directions=directions)

    model = {"model": LAYER.apply, "params": PARAMS, "directions": 2}
    yield rnnjax.gradient_reports, Call(reports, model)

    def adjoints(loss: Any, params: Any) -> Any:
        return rnnjax.adjoints(loss, params, X)

    yield rnnjax.adjoints, Call(adjoints, {"loss": loss, "params": PARAMS})
    lengths = {"lengths": jnp.array([1, 2]), "length": T, "name": "lengths"}
    yield rnnjax.lengths_to_mask, Call(rnnjax.lengths_to_mask, lengths)
    yield rnnjax.norm_bound, Call(rnnjax.norm_bound, {"kernel": jnp.eye(3), "slope": 1.0})
    budget = {"budget_bytes": None, "device": None}
    planned = {"cell": CELL, "batch_shape": (2,), "length": 10, **budget}
    yield rnnjax.plan, Call(rnnjax.plan, planned)
    mesh = jax.make_mesh((1,), ("batch",))
    spread = {"loss": loss, "mesh": mesh, "in_axes": None}
    yield rnnjax.over_devices, Call(rnnjax.over_devices, spread, lambda mean: mean(PARAMS, X))


def training_calls() -> Iterator[tuple[Any, Call]]:
    """Of what trains and draws."""
    options = {"steps": 2, "key": KEY, "chunk": 100, "clip": None, "monitor": None,
               "metrics": None, "description": "training", "quiet": True, "has_aux": False,
               "validate": None, "every": None, "patience": None, "callback": None}  # fmt: skip
    begin = {"params": PARAMS, "optimizer": optax.sgd(1e-3)}
    yield (
        training.fit,
        Call(training.fit, {"loss": loss, "data": lambda key: X, **begin, **options}),
    )
    run = {"loss": window_loss, "carry": STATE, "windows": [X], **begin}
    run |= {"chunk": 1, "clip": None, "has_aux": False, "monitor": None, "metrics": None}
    yield training.stream, Call(training.stream, run, list)
    yield training.begin, Call(training.begin, {**begin, "carry": None, "key": KEY})
    begun = training.begin(PARAMS, optax.sgd(1e-3), key=KEY)
    run = {"loss": loss, "state": begun, "data": lambda key: X, "optimizer": optax.sgd(1e-3)}
    run |= {"steps": 2, "chunk": 1, "clip": None, "has_aux": False}
    yield training.train, Call(training.train, run, list)
    watched = over("params", select=lambda params: params, directions=2)
    watch = training.gradient_monitor
    yield watch, Call(watch, watched, lambda monitor: monitor(PARAMS))


def plot_calls() -> Iterator[tuple[Any, Call]]:
    """Of what draws."""
    _, ax = plt.subplots()
    found = rnnjax.adjoints(loss, PARAMS, X)
    for draw, given in (
        (plots.gradient_norms, {"report": rnnjax.gradient_report(CELL, PARAMS, X)}),
        (plots.adjoint_norms, {"adjoint": found.adjoints[0], "batch_axes": None}),
        (plots.spectrum, {"log_singular_values": jnp.zeros((T, B, H)), "most": 8}),
        (plots.jacobian_norms, {"jacobians": jnp.zeros((T, B, H, H))}),
        (plots.bound, {"norm_bound": 0.9, "longest": 5}),
    ):
        yield draw, Call(draw, {"ax": ax, **given})


def weight_calls() -> Iterator[tuple[Any, Call]]:
    """Of what takes weights over, needing none of the libraries that they are of."""
    kernels = {"weight_ih": np.ones((3 * H, D)), "weight_hh": np.ones((3 * H, H))}
    of_torch = {f"{name}_l0": array for name, array in kernels.items()}
    loaded = torch.from_torch(of_torch)
    of_equinox = {**kernels, "bias": np.ones(3 * H), "bias_n": np.ones(H)}
    of_keras = [np.ones((D, 3 * H)), np.ones((H, 3 * H)), np.ones((2, 3 * H))]
    of_file = {f"gru/cell/vars/{place}": array for place, array in enumerate(of_keras)}
    config = {"layers": [{"class_name": "GRU", "config": {"name": "gru"}}]}
    of_haiku = {"w_i": np.ones((D, 3 * H)), "w_h": np.ones((H, 3 * H)), "b": np.ones(3 * H)}
    before = cells.gru(D, H, reset_after=False).init(KEY)
    for function, given in (
        (torch.from_torch, {"arrays": of_torch, "prefix": "", "activation": None, "dropout": 0.0}),
        (torch.to_torch, {"params": PARAMS}),
        (torch.from_torch_state, {"params": loaded.params, "state": np.ones((1, B, H))}),
        (torch.to_torch_state, {"state": STATE}),
        (keras.from_keras, {"weights": of_keras, "config": None, "activation": None}),
        (keras.to_keras, {"params": PARAMS}),
        (haiku.from_haiku, {"params": {"gru": of_haiku}, "name": "gru"}),
        (haiku.to_haiku, {"params": before, "name": "gru"}),
        (equinox.from_equinox, {"arrays": of_equinox}),
        (equinox.to_equinox, {"params": PARAMS}),
        (names.to_names, {"params": PARAMS}),
        (names.from_names, {"init": CELL.init, "named": names.to_names(PARAMS)}),
        (files.write, {"path": "weights.npz", "arrays": of_torch}),
        (keras.layer_weights, {"arrays": of_file, "path": "gru"}),
        (keras.layer_config, {"model": config, "name": "gru"}),
    ):
        yield function, Call(function, given)

    def read(path: Any) -> Any:
        Path("weights.npz").write_bytes(weights)
        return files.read(path)

    def read_config(path: Any) -> Any:
        with zipfile.ZipFile("model.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
        return files.read_config(path)

    stream = io.BytesIO()
    np.savez(stream, **of_torch)
    weights = stream.getvalue()
    yield files.read, Call(read, {"path": "weights.npz"})
    yield files.read_config, Call(read_config, {"path": "model.keras"})


def module_calls() -> Iterator[tuple[Any, Call]]:
    """Of what takes modules of other libraries, as many as are installed."""
    cell = linen.GRUCell(H, param_dtype=jnp.float64)
    weights = cell.init(KEY, jnp.zeros((B, H)), jnp.ones((B, D)))["params"]
    example = {"example": jnp.zeros(D)}
    of_linen = {"module": cell, **example, "rngs": None, "carry_key": None}
    yield flax.linen_cell, Call(flax.linen_cell, of_linen)
    make = {
        "make": lambda rngs: nnx.GRUCell(D, H, param_dtype=jnp.float64, rngs=rngs),
        **example,
        "carry_key": None,
    }
    yield flax.nnx_cell, Call(flax.nnx_cell, make)
    yield flax.from_flax, Call(flax.from_flax, {"cell": cell, "tree": weights})
    yield flax.to_flax, Call(flax.to_flax, {"cell": cell, "params": PARAMS})
    options = {"time_major": False, "return_carry": False, "reverse": False, "keep_order": False}
    options |= {"fold": folds.scan()}
    rnn = linen_modules.RNN
    yield rnn, Call(rnn, {"cell": CELL, **options}, lambda rnn: rnn.init(KEY, X))
    if importlib.util.find_spec("haiku"):
        import haiku as hk

        core = {"make": lambda: hk.GRU(H), **example, "key": None}
        yield haiku.haiku_cell, Call(haiku.haiku_cell, core)
    if importlib.util.find_spec("equinox"):
        import equinox as eqx

        module = {"make": lambda key: eqx.nn.GRUCell(D, H, key=key)}
        module |= {"hidden": lambda module: jnp.zeros(H), "output": None}
        yield equinox.equinox_cell, Call(equinox.equinox_cell, module)


# Arguments of which an error says what is wrong in words of what they are handed to.
ALIASES: dict[tuple[str, str], str] = {
    ("step", "x"): "inputs",
    ("from_step", "feature_axes"): "inputs",
    ("stream", "windows"): "inputs",
    ("stream", "carry"): "state|loss",
    **dict.fromkeys([("fit", "data"), ("train", "data")], "inputs"),
    **dict.fromkeys([(name, "has_aux") for name in ("fit", "stream", "train")], "loss"),
    ("adjoint_norms", "adjoint"): "batch_axes",
    ("read", "path"): "wrong",  # as the file is called
    ("read_config", "path"): "wrong",
    ("write", "path"): "wrong",
    ("from_keras", "weights"): "kernel|array",
    ("layer_weights", "arrays"): "path",
    ("layer_config", "model"): "name",
    ("from_flax", "tree"): "arrays",
    ("from_haiku", "name"): "params",
    ("from_torch", "prefix"): "arrays",
    ("from_torch_state", "params"): "state",
    ("from_torch_state", "state"): "h_n",
    ("from_names", "named"): "params",
    ("RNN", "cell"): "fold",
}
# Of `WRONG`, what an argument takes rightly: by its name, or by function and name.
TAKEN: dict[str | tuple[str, str], str] = {
    "cell": "cell",
    "layer": "layer",
    "forward": "layer",
    "backward": "layer",
    ("residual", "layer"): "layer",
    **dict.fromkeys(["state", "mask", "resets", "probes", "output", "size", "segments"], "None"),
    **dict.fromkeys(["budget_bytes", "device", "max_iterations"], "None"),
    **dict.fromkeys(["monitor", "feature_axes", "remember", "batch_axes"], "None"),
    **dict.fromkeys(["validate", "every", "patience", "callback"], "None"),
    ("step", "state"): "",
    **dict.fromkeys([("newton", "state"), ("train", "state"), ("from_torch_state", "state")], ""),
    ("to_torch_state", "state"): "array",
    **dict.fromkeys([("from_haiku", "name"), ("layer_config", "name"), ("to_flax", "cell")], ""),
    ("from_flax", "cell"): "",
    **dict.fromkeys(
        [(f"to_{name}", "params") for name in ("torch", "keras", "haiku", "equinox")], "params"
    ),
    **dict.fromkeys(
        [("begin", "params"), ("begin", "carry")],
        "None half negative True list pair array dict params nan",
    ),
    ("to_names", "params"): "None half negative True list pair array dict params nan",
    ("write", "arrays"): "dict",
    **dict.fromkeys(["time_major", "return_carry", "keep_order"], "True"),
    ("RNN", "fold"): "None",
    ("fit", "key"): "",
    **dict.fromkeys(["key", "carry_key", "rngs", "config", "activation"], "None"),
    ("drop", "tree"): "None half negative True list pair array dict params nan",
    ("lengths_to_mask", "lengths"): "list pair",
    "batch_shape": "list pair",
    "reverse": "True",
    "quiet": "True",
    "store": "None True",
    "name": "word",
    "description": "word",
    "metrics": "None word",
    "clip": "None half",
    "tolerance": "None half",
    "slope": "half",
    "longest": "half",
    ("bound", "longest"): "negative",
    "scale": "half negative nan",
    "norm_bound": "half negative nan",
    "in_axes": "None negative",
    "log_singular_values": "array",
    "jacobians": "array",
    **{
        (row.factory.__name__, option): kinds
        for row in CELLS.values()
        for option, kinds in row.taken.items()
    },
}
CALLS: dict[Any, Call] = {
    function: call
    for calls in (cell_calls, fold_calls, initializer_calls, layer_calls, recurrence_calls,
                  training_calls, plot_calls, weight_calls, module_calls)
    for function, call in calls()
}  # fmt: skip


# Public functions that are handed what they take: by a layer, and by Newton's iteration.
INNER = {layers.concatenate, folds.dense, folds.diagonal}
MODULES = [
    rnnjax, cells, folds, initializers, layers, training, plots,
    torch, keras, haiku, equinox, names, files, flax,
]  # fmt: skip


def test_every_public_function_has_a_row() -> None:
    """Other than types, and what other libraries own."""
    public = {
        member
        for module in MODULES
        for member in (getattr(module, name) for name in module.__all__)
        if inspect.isfunction(member) and member.__module__.startswith("rnnjax")
    }
    rows = {function for function in CALLS if inspect.isfunction(function)}
    absent = {haiku.haiku_cell, equinox.equinox_cell} - rows
    assert public - INNER - absent == rows
    libraries = {function.__module__.rpartition(".")[2] for function in absent}
    assert not any(map(importlib.util.find_spec, libraries))


def documented(function: Any, *seen: Any) -> set[str]:
    """The exceptions that a docstring lists, those of functions that it refers to as well."""
    text = function.__doc__ or ""
    found = set(re.findall(r"\b[A-Z]\w*Error\b", text.partition("Raises:")[2]))
    named = {other.__name__: other for other in CALLS}
    for name in re.findall(r"[Aa]s (?:in )?`(\w+)`", text):
        if name in named and named[name] not in (function, *seen):
            found |= documented(named[name], function, *seen)
    return found


# What an error is about shows only in use, where another docstring tells of it.
IN_USE = {"example", "feature_axes"}


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_each_argument_is_told_by_name(
    function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is refused, and nothing else is."""
    monkeypatch.chdir(tmp_path)
    call, name = CALLS[function], function.__name__
    call.use(call.function(**call.given))
    unclear, taken = [], {}
    listed = documented(linen_modules.RNN.__call__ if name == "RNN" else function)
    for argument in call.given:
        taken[argument] = []
        told = (argument, ALIASES.get((name, argument), argument))
        for kind, value in WRONG.items():
            try:
                call.use(call.function(**{**call.given, argument: value}))
                taken[argument].append(kind)
            except Exception as error:
                words = "\n".join([str(error), *getattr(error, "__notes__", [])])
                begins = [line.split(":")[0] for line in words.splitlines()]
                if argument not in IN_USE and type(error).__name__ not in listed:
                    unclear.append(f"{argument}={kind}: no docstring lists {type(error).__name__}")
                named = any(re.search(one, begin) for one in told for begin in begins)
                if not (named and "expected" in words and re.search("got|missing|too many", words)):
                    unclear.append(f"{argument}={kind}: {type(error).__name__}: {words[:300]}")
    assert not unclear, "\n".join(unclear)
    rightly = {
        argument: TAKEN.get((name, argument), TAKEN.get(argument, "")).split()
        for argument in call.given
    }
    assert taken == rightly
