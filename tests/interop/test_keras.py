import os
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest

import rnnjax
from rnnjax import cells, layers
from rnnjax.cells import ElmanParams, LSTMParams
from rnnjax.interop import files
from rnnjax.interop.keras import ACTIVATIONS, from_keras, layer_config, layer_weights, to_keras
from rnnjax.layers import Directions

OPTIONS = {
    "rnn": {},
    "relu": {"activation": jax.nn.relu},
    "lstm": {},
    "gru_after": {},
    "gru_before": {},
    "gru_without_bias": {"reset_after": True},
    "masked": {},
    "summed": {"merge": jnp.add},
}
GOLDEN = Path(__file__).with_name("golden")


def golden(case):
    with np.load(GOLDEN / f"keras_{case}.npz", allow_pickle=False) as file:
        return dict(file)


def lists(record, place):
    """A list of arrays for each layer, out of LAYER/ARRAY."""
    below = parity.part(record, place)
    count = len({name.split("/")[0] for name in below})
    return [[below[name] for name in sorted(below) if name[0] == str(k)] for k in range(count)]


def is_two_biases(i, array):
    """Whether this is the bias of a GRU that resets after the product."""
    return i % 3 == 2 and array.ndim == 2


def check_parity(case, record):
    weights = lists(record, "weights/")
    loaded = from_keras(weights, **OPTIONS[case])
    ours = parity.compute(loaded, record, record["mask"])
    parity.close(ours.outputs, record["outputs"], "outputs")
    parity.close(ours.by_inputs, record["gradient/inputs"], "inputs")
    # A gradient goes back the way its weights do.
    gradient, theirs = to_keras(ours.by_params), lists(record, "gradient/weights/")
    for k, layer in enumerate(theirs):
        for i, expected in enumerate(layer):
            if is_two_biases(i, expected):
                # One bias of r and z here is two there.
                expected[1, : -expected.shape[1] // 3] = 0
            parity.close(gradient[k][i], expected, f"{k}/{i}")


@pytest.mark.parametrize("case", OPTIONS)
def test_golden_parity(case):
    record = golden(case)
    check_parity(case, record)
    weights = lists(record, "weights/")
    back = to_keras(from_keras(weights, **OPTIONS[case]).params)
    for ours, theirs in zip(back, weights, strict=True):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
            sums = [x.sum(0) if is_two_biases(i, x) else x for x in (a, b)]
            np.testing.assert_allclose(*sums, rtol=1e-6)


@contextmanager
def live():
    """Keras, which is not written for strict promotion."""
    os.environ["KERAS_BACKEND"] = "jax"  # or Keras looks for TensorFlow
    pytest.importorskip("keras")
    from golden import make_keras

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield make_keras


@pytest.mark.slow
@pytest.mark.parametrize("case", OPTIONS)
def test_live_parity(case):
    with live() as make_keras:
        record = make_keras.record(case, seed=1)
    check_parity(case, record)


def test_live_layers_take_the_weights_back_and_files_hold_them(tmp_path):
    pytest.importorskip("h5py")
    with live() as make_keras:
        keras = make_keras.keras
        layers = [
            keras.layers.LSTM(4, return_sequences=True, dropout=0.5, seed=0),
            keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True)),
            keras.layers.LSTM(3),
            keras.layers.Dense(2),
        ]
        model = keras.Sequential([keras.Input((make_keras.T, make_keras.D)), *layers])
        model.save_weights(tmp_path / "model.weights.h5")
        model.save(tmp_path / "model.keras")
        weights = [layer.get_weights() for layer in layers[:3]]
        loaded = from_keras(weights)
        for layer, arrays in zip(layers, to_keras(loaded.params), strict=False):
            layer.set_weights([np.zeros_like(array) for array in arrays])
            layer.set_weights(arrays)
            assert all(map(np.array_equal, layer.get_weights(), arrays))
    arrays = files.read(tmp_path / "model.weights.h5")
    paths = ["layers/lstm", "layers/bidirectional", "layers/lstm_1"]
    from_file = from_keras([layer_weights(arrays, path) for path in paths])
    jax.tree.map(np.testing.assert_array_equal, from_file.params, loaded.params)
    found = files.read_config(tmp_path / "model.keras")
    told = [layer_config(found, layer.name) for layer in layers[:3]]
    assert from_keras(weights, config=told).params[0].W_hh.shape == (4, 16)
    with pytest.raises(ValueError, match=r"one of \['layers/bidirectional', 'layers/lstm', 'la"):
        layer_weights(arrays, "layers/gru")


def test_live_cells_on_top_of_each_other_are_read_from_a_file(tmp_path):
    pytest.importorskip("h5py")
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    with live() as make_keras:
        keras = make_keras.keras
        cell = keras.layers.GRUCell
        rnn = keras.layers.RNN([cell(3), cell(3)], go_backwards=True, return_sequences=True)
        model = keras.Sequential([keras.Input((5, 3)), rnn])
        expected = np.asarray(model(x)).swapaxes(0, 1)
        weights, told = rnn.get_weights(), rnn.get_config()
        model.save_weights(tmp_path / "model.weights.h5")
    read = layer_weights(files.read(tmp_path / "model.weights.h5"), "layers/rnn")
    for given in (weights, read):
        layer, params = from_keras(given, config=told)
        ours = layer.apply(params, jnp.asarray(x.swapaxes(0, 1)))[1]
        np.testing.assert_allclose(ours[::-1], expected, atol=1e-6)


@pytest.mark.slow
def test_live_configs():
    """Layers whose weights do not tell what they compute."""
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    with live() as make_keras:
        keras = make_keras.keras
        whole = {"return_sequences": True}
        each = keras.layers
        for made in [
            [each.SimpleRNN(4, activation="relu", **whole)],
            [each.GRU(4, use_bias=False, reset_after=False, **whole)],
            [each.RNN(each.LSTMCell(4), go_backwards=True, **whole)],
            [
                each.LSTM(4, go_backwards=True, **whole),
                each.Bidirectional(each.GRU(3, **whole), merge_mode="ave"),
                each.SimpleRNN(4, activation="elu", go_backwards=True, **whole),
            ],
            [
                each.Bidirectional(
                    each.GRU(3, **whole), backward_layer=each.LSTM(3, go_backwards=True, **whole)
                )
            ],
        ]:
            outputs, rng = x, np.random.default_rng(1)
            for layer in made:
                layer.build(outputs.shape)
                layer.set_weights([rng.normal(size=array.shape) for array in layer.weights])
                outputs = np.asarray(layer(outputs))
            layer, params = from_keras(
                [layer.get_weights() for layer in made],
                config=[layer.get_config() for layer in made],
            )
            ours = layer.apply(params, jnp.asarray(x.swapaxes(0, 1)))[1].swapaxes(0, 1)
            turned = sum(getattr(layer, "go_backwards", False) for layer in made) % 2
            np.testing.assert_allclose(ours[:, ::-1] if turned else ours, outputs, atol=1e-5)
        for name, ours in ACTIVATIONS.items():
            points = jnp.linspace(-3, 3, 13, dtype=jnp.float32)
            theirs = keras.activations.get(name)
            np.testing.assert_allclose(ours(points), theirs(points), rtol=1e-6, err_msg=name)


def test_one_layer_is_no_stack():
    [lstm] = lists(golden("lstm"), "weights/")
    assert isinstance(from_keras(lstm).params, LSTMParams)
    assert all(map(np.array_equal, to_keras(from_keras(lstm).params), lstm))
    [first, _] = lists(golden("masked"), "weights/")
    assert isinstance(from_keras(first).params, Directions)


def config(kind, units=4, **changes):
    """What `layer.get_config()` gives, without what is read of no layer."""
    own = {"units": units, "activation": "tanh", "use_bias": True, "go_backwards": False}
    own |= {"return_sequences": True, "dropout": 0.0, "name": kind.lower()}
    own |= {"recurrent_initializer": "orthogonal"}
    own |= {} if kind == "SimpleRNN" else {"recurrent_activation": "sigmoid"}
    return own | ({"reset_after": True} if kind == "GRU" else {}) | changes


def named(kind, **changes):
    """So, as it stands in a file or within another layer."""
    return {"module": "keras.layers", "class_name": kind, "config": config(kind, **changes)}


def both(kind, merge_mode="concat", **changes):
    """That of a Bidirectional."""
    return {
        "name": "both",
        "merge_mode": merge_mode,
        "layer": named(kind, **changes),
        "backward_layer": named(kind, go_backwards=True, **changes),
    }


CONFIGS = {
    "relu": [config("SimpleRNN", activation="relu")],
    "gru_without_bias": [named("GRU", use_bias=False)],
    "gru_before": [{"cell": named("GRU", reset_after=False), "go_backwards": False}],
    "masked": [{"class_name": "Bidirectional", "config": both("LSTM")}, both("GRU", units=2)],
    # As Keras 2 writes it.
    "summed": [{"merge_mode": "sum", "layer": named("SimpleRNN")}],
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_tells_what_weights_do_not(case):
    record = golden(case)
    layer, params = from_keras(lists(record, "weights/"), config=CONFIGS[case])
    _, outputs = layer.apply(params, jnp.asarray(record["inputs"]), mask=record["mask"])
    parity.close(outputs, record["outputs"], "outputs")


@pytest.mark.slow
def test_a_layer_above_one_that_runs_backward_is_shown_it_backward():
    """As in Keras, whose outputs are in the order of the run, and ours in that of the inputs."""
    record = golden("masked")
    weights, x = lists(record, "weights/"), jnp.asarray(record["inputs"])
    turned = both("LSTM")
    turned["layer"], turned["backward_layer"] = turned["backward_layer"], turned["layer"]
    plain = from_keras(weights)
    ours = from_keras(weights, config=[turned, both("GRU", units=2)])
    expected = plain.layer.apply(plain.params, x[::-1])[1][::-1]
    np.testing.assert_allclose(ours.layer.apply(ours.params, x)[1], expected, atol=1e-6)
    [lstm] = lists(golden("lstm"), "weights/")
    back = from_keras(lstm, config=config("LSTM", go_backwards=True))
    forward = from_keras(lstm)
    expected = forward.layer.apply(forward.params, x, reverse=True)[1]
    np.testing.assert_array_equal(back.layer.apply(back.params, x)[1], expected)


def test_merge_modes():
    weights = lists(golden("summed"), "weights/")
    x = jnp.asarray(golden("summed")["inputs"])

    def outputs(mode, **options):
        layer, params = from_keras(weights, config=[both("SimpleRNN", mode)], **options)
        return layer.apply(params, x)[1]

    a, b = outputs(None)
    np.testing.assert_array_equal(outputs("concat"), np.concatenate([a, b], -1))
    np.testing.assert_array_equal(outputs("sum", merge=jnp.add), a + b)
    np.testing.assert_array_equal(outputs("mul"), a * b)
    np.testing.assert_array_equal(outputs("ave"), (a + b) / 2)
    np.testing.assert_array_equal(outputs("mine", merge=jnp.subtract), a - b)


HARD = {"recurrent_activation": "hard_sigmoid"}
CUSTOM = {"class_name": "function", "config": "swirl", "registered_name": "swirl"}


@pytest.mark.parametrize(
    ("case", "told", "options", "message"),
    [
        (
            "gru_after",
            config("GRU", **HARD),
            {},
            r"config: expected recurrent_activation='sigmoid', .*`cells.gru`, got 'hard_sigmoid';"
            " .*from_step",
        ),
        ("lstm", named("LSTM", activation="relu"), {}, "expected activation='tanh', .*got 'relu'"),
        ("lstm", config("LSTM", activation=CUSTOM), {}, "expected activation='tanh', .*'swirl'"),
        (
            "lstm",
            config("GRU", units=5, use_bias=False),
            {},
            "config: expected, from the weights, class_name='LSTM', got 'GRU'; units=4, got 5; "
            "use_bias=True, got False; pass the config of the layer whose weights",
        ),
        ("gru_after", config("GRU", reset_after=False), {}, "reset_after=True, got False"),
        ("gru_without_bias", config("GRU"), {}, "use_bias=False, got True"),
        (
            "gru_without_bias",
            config("GRU", use_bias=False),
            {"reset_after": False},
            "reset_after: expected None with a config that has reset_after=True, got False",
        ),
        (
            "relu",
            config("SimpleRNN", activation="relu"),
            {"activation": jnp.tanh},
            "activation: expected None with a config that has activation='relu', got <",
        ),
        (
            "relu",
            config("SimpleRNN", activation=CUSTOM),
            {},
            r"expected activation to be one of \['tanh'.*swirl.*; pass .*`activation=`",
        ),
        ("lstm", named("GRU") | {"class_name": "ConvLSTM1D"}, {}, "got that of 'ConvLSTM1D'; pass"),
        ("lstm", {"name": "sequential", "layers": []}, {}, "of 'sequential'; pass .* of a model"),
        ("lstm", {"name": "embedding", "input_dim": 9}, {}, "'embedding'; pass `layer.get_config"),
        ("relu", {"name": "dense", "units": 4, "activation": "relu"}, {}, "got that of 'dense'"),
        (
            "lstm",
            {"cell": {"class_name": "StackedRNNCells", "config": {"cells": []}}},
            {},
            "got that of 'StackedRNNCells'; .* convert Keras's own layers and cells one by one",
        ),
        ("lstm", both("LSTM"), {}, "expected that of one direction.*got that of a Bidirectional"),
        ("summed", config("SimpleRNN"), {}, "expected that of a Bidirectional.*of one direction"),
        (
            "summed",
            both("SimpleRNN", "join"),
            {},
            r"merge_mode to be one of .*got 'join'.*`merge=`",
        ),
        (
            "summed",
            both("SimpleRNN", "sum"),
            {"merge": jnp.multiply},
            "merge: expected None with a config that has merge_mode='sum'",
        ),
        (
            "summed",
            both("SimpleRNN") | {"backward_layer": named("SimpleRNN")},
            {},
            "config: expected go_backwards of one direction, got False of both",
        ),
        (
            "summed",
            both("SimpleRNN") | {"backward_layer": named("LSTM", go_backwards=True)},
            {},
            "config, backward: expected, from the weights, class_name='SimpleRNN', got 'LSTM'",
        ),
        ("lstm", {}, {}, r"that of a SimpleRNN, got one without \['units', 'use_bias', 'activ"),
        (
            "lstm",
            {"layer": named("LSTM")},
            {},
            r"a Bidirectional, got one without \['merge_mode'\]",
        ),
    ],
)
def test_what_a_config_contradicts_is_refused(case, told, options, message):
    [weights] = lists(golden(case), "weights/")
    with pytest.raises(ValueError, match=message):
        from_keras(weights, config=told, **options)


def test_configs_of_layers_on_top_of_each_other():
    weights = lists(golden("masked"), "weights/")
    above = both("GRU", units=2)
    for told, message in [
        ([both("LSTM")], "config: expected a list of 2, one for each layer, got 1"),
        (both("LSTM"), "config: expected a list of 2, one for each layer, got 1"),
        ([both("LSTM"), both("GRU")], "config of layer 1, forward: .*units=2, got 4"),
        (
            [both("LSTM", None), above],
            r"merge: expected one array \[T, B, D\] below another layer, got \[",
        ),
        (
            [both("LSTM", return_sequences=False), above],
            "config of layer 0: expected return_sequences=True below another layer",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            from_keras(weights, config=told)
    with pytest.raises(TypeError, match="config of layer 1: expected a mapping, got int"):
        from_keras(weights, config=[both("LSTM"), 3])


@pytest.mark.parametrize(
    ("case", "options", "message"),
    [
        ("lstm", {"activation": jax.nn.relu}, "activation: expected None for an LSTM or a GRU"),
        ("gru_after", {"merge": jnp.add}, "merge: expected None .*GRU, .*for a Bidirectional"),
        ("lstm", {"reset_after": True}, "reset_after: expected None .*LSTM, .*for a GRU"),
        ("lstm", {"dropout": 0.5}, "dropout: expected 0 for one layer, got 0.5"),
    ],
)
def test_an_argument_that_no_layer_takes_is_refused(case, options, message):
    weights = lists(golden(case), "weights/")
    for given in (weights, weights[0]):
        with pytest.raises(ValueError, match=message):
            from_keras(given, **options)


def test_an_activation_without_a_config_is_said_of_every_layer():
    weights = [SQUARE["SimpleRNN"], SQUARE["GRU"]]
    with pytest.raises(ValueError, match="activation: expected None for an LSTM or a GRU"):
        from_keras(weights, activation=jax.nn.relu)
    told = [config("SimpleRNN", activation=CUSTOM), config("GRU")]
    loaded = from_keras(weights, config=told, activation=jnp.sin)
    x = jnp.ones((2, 4), jnp.float32)
    _, first = rnnjax.unroll(cells.elman(4, 4, activation=jnp.sin), loaded.params[0], x)
    _, second = rnnjax.unroll(cells.gru(4, 4), loaded.params[1], first)
    np.testing.assert_allclose(loaded.layer.apply(loaded.params, x)[1], second, atol=1e-6)


def test_dropout_between_layers_acts_where_there_is_a_key():
    layer, params = from_keras([SQUARE["LSTM"], SQUARE["SimpleRNN"]], dropout=1.0)
    x = jnp.ones((3, 4), jnp.float32)
    _, dropped = layer.apply(params, x, key=jax.random.key(0))
    _, of_zeros = rnnjax.unroll(cells.elman(4, 4), params[1], jnp.zeros_like(x))
    np.testing.assert_allclose(dropped, of_zeros, atol=1e-6)
    assert not np.allclose(layer.apply(params, x)[1], dropped)


def square(gates, biases):
    """The weights of a layer of as many units as inputs."""
    rng = np.random.default_rng(gates)
    shapes = [(4, 4 * gates), (4, 4 * gates), (*biases, 4 * gates)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


SQUARE = {"SimpleRNN": square(1, ()), "GRU": square(3, (2,)), "LSTM": square(4, ())}


@pytest.mark.parametrize("without", [0, 1])
def test_two_layers_and_two_directions_that_look_alike_are_told_apart(without):
    """`RNN([LSTMCell(4), LSTMCell(4)])` and a `Bidirectional(LSTM(4))` over 4 inputs."""
    one = SQUARE["LSTM"][: 3 - without]
    two = [*one, *one]
    for weights, place in [(two, "weights"), ([two, SQUARE["LSTM"]], "layer 0")]:
        with pytest.raises(ValueError, match=f"{place}: .* of one layer, got {len(two)} arrays"):
            from_keras(weights)
    cell = named("LSTMCell", use_bias=not without)
    cell["config"]["recurrent_activation"] = "sigmoid"
    rnn = {"cell": {"class_name": "StackedRNNCells", "config": {"cells": [cell, cell]}}}
    for loaded in [
        from_keras([one, one]),
        from_keras(two, config=rnn),
        from_keras([one, one], config=named("RNN") | {"config": rnn}),
    ]:
        assert type(loaded.params) is tuple and len(loaded.params) == 2
    assert len(from_keras([two, one], config=[rnn, config("LSTM", use_bias=not without)])[1]) == 3
    for loaded in [
        from_keras(two, merge=layers.concatenate),
        from_keras(Directions(one, one)),
        from_keras(two, config=both("LSTM", use_bias=not without)),
    ]:
        assert isinstance(loaded.params, Directions)


def test_what_merge_makes_may_rest_on_time_and_batch():
    sides = Directions(SQUARE["GRU"], SQUARE["GRU"])
    x, mask = jnp.ones((3, 2, 4), jnp.float32), jnp.ones((3, 2), bool)
    pair = from_keras(sides, merge=lambda a, b: (a, b))
    there, back = pair.layer.apply(pair.params, x, mask=mask)[1]
    above = square(1, ())
    above[0] = np.tile(above[0], (2, 1))
    joined = from_keras([sides, above], merge=lambda a, b: jnp.concatenate([a, b], axis=2))
    _, expected = rnnjax.unroll(
        cells.elman(8, 4), joined.params[1], jnp.concatenate([there, back], -1)
    )
    np.testing.assert_allclose(joined.layer.apply(joined.params, x)[1], expected, atol=1e-6)
    for merge in (lambda a, b: (a, b), lambda a, b: jnp.sum(a + b)):
        with pytest.raises(ValueError, match=r"merge: expected one array \[T, B, D\] below"):
            from_keras([sides, above], merge=merge)


def in_file(places):
    """What a file holds of cells at these places."""
    return {
        f"{place}/{name.format(i)}": array
        for place, name, arrays in places
        for i, array in enumerate(arrays)
    }


def test_cells_of_a_file_are_found_and_their_order_where_it_is_told():
    many = [[i * array for array in SQUARE["LSTM"]] for i in range(1, 12)]
    cell, vars = "layers/rnn/cell/cells/lstm_cell", "vars/{}"
    numbered = [cell, *[f"{cell}_{i}" for i in range(1, 11)]]
    # A file has them in the order of the alphabet.
    stacked = in_file([(numbered[i], vars, many[i]) for i in [0, 1, 10, *range(2, 10)]])
    alone = in_file([("decoder", vars, SQUARE["GRU"])])
    dense = {"layers/dense/vars/0": np.ones((4, 2)), "layers/dense/vars/1": np.ones(2)}
    arrays = stacked | alone | dense
    found = layer_weights(arrays, "layers/rnn")
    jax.tree.map(np.testing.assert_array_equal, found, many)
    assert layer_weights(arrays, f"{cell}_10")[0] is many[10][0]
    assert from_keras(layer_weights(arrays, "decoder")).params.W_hh.shape == (4, 12)
    for path in ("layers/dense", "layers"):
        with pytest.raises(ValueError, match=r"one of \['decoder', 'layers/rnn'\], got"):
            layer_weights(arrays, path)
    mixed = arrays | in_file([("layers/rnn/cell/cells/gru_cell", vars, SQUARE["GRU"])])
    with pytest.raises(ValueError, match=r"of one class, .* \['layers/rnn/cell/cells/gru_cell', "):
        layer_weights(mixed, "layers/rnn")
    sides = [(f"both/{side}_layer/cell", vars, SQUARE["LSTM"]) for side in ("forward", "backward")]
    assert isinstance(from_keras(layer_weights(in_file(sides), "both")).params, Directions)


def test_a_file_of_keras_2_tells_the_arrays_of_a_cell_by_their_names():
    names = ("kernel:0", "recurrent_kernel:0", "bias:0")
    lstm = dict(zip((f"lstm_1/lstm_1/{n}" for n in names), SQUARE["LSTM"], strict=True))
    assert layer_weights(lstm, "lstm_1/lstm_1")[2] is SQUARE["LSTM"][2]
    with pytest.raises(ValueError, match=r"expected one of \['lstm_1/lstm_1'\], got 'lstm_1'"):
        layer_weights(lstm, "lstm_1")


@pytest.mark.parametrize("whole", [{}, {"layers/lstm/cell/vars/0": SQUARE["LSTM"][0]}])
def test_arrays_by_name_are_refused_with_what_takes_them(whole):
    taken_out = (
        r"weights: expected a list of arrays, got (dict|int|str); .*`layer_weights\(arrays, p"
    )
    for weights in (whole, [whole], 3, "NAME.weights.h5"):
        with pytest.raises(TypeError, match=taken_out):
            from_keras(weights)
    with pytest.raises(TypeError, match=r"arrays: expected a mapping .*got list; pass what .*read"):
        layer_weights(list(whole), "layers/lstm")
    with pytest.raises(TypeError, match="array 1: expected an array of numbers, got str"):
        from_keras([SQUARE["LSTM"][0], "kernel"])


def test_the_config_of_one_layer_of_a_model():
    inner = {"class_name": "Sequential", "config": {"layers": [named("GRU", name="two")]}}
    dense = {"class_name": "Dense", "config": {"name": "dense", "units": 4}}
    outer = [named("LSTM", name="one"), dense, inner, {"class_name": "RNN", "config": {"cell": 0}}]
    model = {"class_name": "Functional", "config": {"name": "model", "layers": outer}}
    assert layer_config(model, "one") is outer[0]
    assert layer_config(model, "two")["class_name"] == "GRU"
    with pytest.raises(
        ValueError, match=r"of \['one', 'two', 'None'\], got 'dense', the name of 0"
    ):
        layer_config(model, "dense")
    outer += [outer[0]]
    with pytest.raises(ValueError, match="got 'one', the name of 2"):
        layer_config(model, "one")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda k, r, b: [], {}, "2 or 3 arrays of a layer"),
        (lambda k, r, b: [k], {}, r"2 or 3 arrays of a layer.*got shapes \[\(3, 16\)\]"),
        (lambda k, r, b: [k, r, b, b, b], {}, "or 4 or 6 of a Bidirectional"),
        (
            lambda k, r, b: [k.T, r, b],
            {},
            r"kernel is \(16, 3\), expected \(3, 16\), its transpose",
        ),
        (
            lambda k, r, b: [k, r.T, b],
            {},
            r"recurrent_kernel: .*got \(16, 4\), which transposed is",
        ),
        (lambda k, r, b: [k, r[:, :8], b], {}, r"recurrent_kernel: .*got \(4, 8\)"),
        (lambda k, r, b: [k, r[:, :15], b], {}, r"recurrent_kernel: .*got \(4, 15\)"),
        (lambda k, r, b: [k[0], r, b], {}, r"kernel: expected \[D, 16\], got \(16,\)"),
        (lambda k, r, b: [k, b, r], {}, r"recurrent_kernel: .*got \(16,\)"),
        (
            lambda k, r, b: [k[:, :12], r, b[:12]],
            {},
            r"kernel is \(3, 12\), expected \(3, 16\); bias is \(12,\), expected \(16,\)",
        ),
        (lambda k, r, b: [k, r, np.stack([b, b])], {}, r"bias is \(2, 16\), expected \(16,\)"),
        (lambda k, r, b: [k[:, :12], r[:, :12]], {}, "reset_after: expected True or False"),
        (
            lambda k, r, b: [k[:, :12], r[:, :12], b[:12]],
            {"reset_after": True},
            r"Keras's GRU.*bias is \(12,\), expected \(2, 12\)",
        ),
        (
            lambda k, r, b: [[k, r, b], [k, r, b]],
            {},
            r"LSTM, LSTM.*layer 1 kernel is \(3, 16\), expected \(4, 16\)",
        ),
        (
            lambda k, r, b: [k, r, b, k[:2], r, b],
            {},
            r"backward kernel is \(2, 16\), expected \(3, 16\)",
        ),
        (
            lambda k, r, b: [k, r, b.astype(np.float64)],
            {},
            "one floating dtype is expected, and kernel has float32, bias has float64",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, options, message):
    [lstm] = lists(golden("lstm"), "weights/")
    with pytest.raises(ValueError, match=message):
        from_keras(change(*lstm), **options)


def test_what_keras_has_not_is_refused():
    projected = LSTMParams(np.ones((3, 16)), np.ones((2, 16)), np.ones(16), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"without a projection, got W_hr \(4, 2\)"):
        to_keras(projected)
    with pytest.raises(TypeError, match="got tuple for a cell"):
        to_keras(((ElmanParams(np.ones((3, 4)), np.ones((4, 4)), np.ones(4)),),))
