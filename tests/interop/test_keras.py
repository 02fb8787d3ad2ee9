import os
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest

from rnnjax.cells import ElmanParams, LSTMParams
from rnnjax.interop import files
from rnnjax.interop.keras import from_keras, layer_weights, to_keras
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
    with pytest.raises(ValueError, match=r"one of \['layers/bidirectional', 'layers/lstm', 'la"):
        layer_weights(arrays, "layers/gru")


def test_one_layer_is_no_stack():
    [lstm] = lists(golden("lstm"), "weights/")
    assert isinstance(from_keras(lstm).params, LSTMParams)
    assert all(map(np.array_equal, to_keras(from_keras(lstm).params), lstm))
    [first, _] = lists(golden("masked"), "weights/")
    assert isinstance(from_keras(first).params, Directions)


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
