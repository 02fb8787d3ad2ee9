from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest

import rnnjax
from rnnjax.cells import ElmanParams, GRUParams, LSTMParams, LSTMState
from rnnjax.interop import files
from rnnjax.interop.torch import from_torch, from_torch_state, to_torch, to_torch_state
from rnnjax.layers import Directions

CASES = ("rnn", "relu", "gru", "gru_without_bias", "lstm", "lstm_projected")
GOLDEN = Path(__file__).with_name("golden")


def golden(case):
    with np.load(GOLDEN / f"torch_{case}.npz", allow_pickle=False) as file:
        return dict(file)


def check_parity(case, record):
    weights = parity.part(record, "weights/")
    loaded = from_torch(weights, activation=jax.nn.relu if case == "relu" else jnp.tanh)
    mask = rnnjax.lengths_to_mask(record["lengths"], record["inputs"].shape[0])
    ours = parity.compute(loaded, record, mask)
    parity.close(ours.outputs, record["outputs"], "outputs")
    parity.close(ours.by_inputs, record["gradient/inputs"], "inputs")
    # A gradient goes back the way its weights do.
    gradient = to_torch(ours.by_params)
    for name in weights:
        theirs = record[f"gradient/weights/{name}"]
        if name.startswith("bias_hh"):
            # One bias here is two there, but for the n of a GRU.
            theirs[: -theirs.size // 3 if "gru" in case else None] = 0
        parity.close(gradient[name], theirs, name)


def check_round_trip(weights):
    back = to_torch(from_torch(weights).params)
    for name, array in weights.items():
        if name.startswith("weight"):
            np.testing.assert_array_equal(back[name], array, err_msg=name)
        elif name.startswith("bias_ih"):
            other = name.replace("ih", "hh")
            np.testing.assert_allclose(
                back[name] + back[other], array + weights[other], rtol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("case", CASES)
def test_golden_parity(case):
    record = golden(case)
    check_parity(case, record)
    check_round_trip(parity.part(record, "weights/"))


@pytest.mark.parametrize(
    "case", [*[pytest.param(c, marks=pytest.mark.slow) for c in CASES[:-1]], CASES[-1]]
)
def test_live_parity(case):
    pytest.importorskip("torch")
    from golden import make_torch

    check_parity(case, make_torch.record(case, seed=1))


def test_live_modules_take_the_weights_back_and_keep_their_own():
    torch = pytest.importorskip("torch")
    for module in (torch.nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2), torch.nn.GRU(3, 4)):
        inputs = torch.randn(5, 2, 3)
        before = module(inputs)[0].detach().numpy()
        # Those of the module itself require a gradient.
        loaded = from_torch(dict(module.named_parameters()))
        kept = jax.tree.map(np.array, loaded.params)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
        jax.tree.map(np.testing.assert_array_equal, loaded.params, kept)
        state = {name: torch.as_tensor(a) for name, a in to_torch(loaded.params).items()}
        module.load_state_dict(state)
        np.testing.assert_allclose(module(inputs)[0].detach().numpy(), before, atol=1e-6)


def test_a_prefix_without_its_dot():
    arrays = {f"rnn.{name}": array for name, array in weights("gru").items()}
    message = r"prefix: expected .* one of \['rnn.'\], got 'rnn'; end it with the dot"
    with pytest.raises(ValueError, match=message):
        from_torch(arrays, prefix="rnn")
    assert from_torch(arrays, prefix="rnn.").params


def test_live_cell_and_prefix():
    torch = pytest.importorskip("torch")
    cell = torch.nn.GRUCell(3, 4)
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(7, 3), "rnn": cell})
    loaded = from_torch(model.state_dict(), prefix="rnn.")
    x, h = torch.randn(2, 3), torch.zeros(2, 4)
    ours = loaded.layer.apply(loaded.params, jnp.asarray(x.numpy())[None])[1][0]
    np.testing.assert_allclose(ours, cell(x, h).detach().numpy(), atol=1e-6)


def test_live_bfloat16_goes_there_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file

    state = torch.nn.LSTM(3, 4).bfloat16().state_dict()
    save_file(state, tmp_path / "there.safetensors")
    direct = from_torch(state).params
    jax.tree.map(
        np.testing.assert_array_equal,
        direct,
        from_torch(files.read(tmp_path / "there.safetensors")).params,
    )
    assert direct.W_hh.dtype == jnp.bfloat16
    files.write(tmp_path / "back.safetensors", to_torch(direct))
    back = load_file(tmp_path / "back.safetensors")
    assert all(back[name].equal(state[name]) for name in ("weight_ih_l0", "weight_hh_l0"))


def test_dtypes_are_kept():
    weights = parity.part(golden("gru"), "weights/")
    for dtype in (jnp.bfloat16, np.float16, np.float64):
        cast = {name: array.astype(dtype) for name, array in weights.items()}
        params = from_torch(cast).params
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(dtype)}
        assert {array.dtype for array in to_torch(params).values()} == {np.dtype(dtype)}


def weights(case, **changes):
    """Those of a golden file, some of them changed; None takes one away."""
    changed = parity.part(golden(case), "weights/") | changes
    return {name: array for name, array in changed.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "weight_ih_l0 is missing; weight_hh_l0 is missing; .*state_dict"),
        (
            {"rnn.weight_hh_l0": np.zeros((4, 4)), "cell.weight_hh": np.zeros((4, 4))},
            r"`prefix` \['cell.', 'rnn.'\]",
        ),
        (
            weights("gru", weight_ih_l1=None, bias_hh_l1=np.zeros(8, np.float32), other=np.ones(2)),
            r"nn.GRU\(hidden_size=4, num_layers=2, .*weight_ih_l1 \(12, 4\) is missing; "
            r"other \(2,\) is one too many; bias_hh_l1 is \(8,\), expected \(12,\);",
        ),
        (
            weights("gru", weight_ih_l7=np.ones((12, 4), np.float32)),
            r"weight_ih_l2 \(12, 4\) is missing.*weight_ih_l7 \(12, 4\) is one too many",
        ),
        (
            {name: array.T for name, array in weights("lstm").items()},
            r"weight_hh_l0: .*got \(4, 16\), which transposed is that of LSTM",
        ),
        (
            weights("lstm", weight_ih_l0=np.zeros((3, 16), np.float32)),
            r"weight_ih_l0 is \(3, 16\), expected \(16, 3\), its transpose",
        ),
        (
            {"weight_ih_l0": np.zeros(12), "weight_hh_l0": np.zeros((12, 4))},
            r"weight_ih_l0 is \(12,\), expected \(12, 0\)",
        ),
        (weights("lstm", weight_hh_l0=np.zeros((8, 4))), r"got \(8, 4\)"),
        (weights("lstm", weight_hh_l0=np.zeros((15, 4))), r"got \(15, 4\)"),
        (weights("lstm", weight_hh_l0=np.zeros(16)), r"got \(16,\)"),
        (
            weights("lstm", weight_ih_l0=np.zeros((12, 3), np.float32)),
            r"weight_ih_l0 is \(12, 3\), expected \(16, 3\)",
        ),
        (
            weights("lstm_projected", weight_hr_l0=np.zeros((4, 2), np.float32)),
            r"weight_hr_l0 is \(4, 2\), expected \(2, 4\), its transpose",
        ),
        (weights("lstm", bias_hh_l0=None), r"bias_hh_l0 \(16,\) is missing"),
        (
            weights("lstm", bias_hh_l0=np.zeros(16)),
            "one floating dtype.*weight_ih_l0 has float32.*bias_hh_l0 has float64",
        ),
        ({name: array.astype(int) for name, array in weights("lstm").items()}, "has int64"),
    ],
)
def test_what_does_not_fit_is_named(arrays, message):
    with pytest.raises(ValueError, match=message):
        from_torch(arrays)


def test_an_activation_that_no_layer_takes_is_refused():
    for case in ("lstm", "gru"):
        with pytest.raises(ValueError, match=r"activation: expected None for an LSTM or a GRU"):
            from_torch(weights(case), activation=jax.nn.relu)


def test_dropout_between_layers_is_said_and_acts_where_there_is_a_key():
    layer, params = from_torch(weights("gru"), dropout=1.0)
    x = jnp.asarray(golden("gru")["inputs"])
    _, plain = from_torch(weights("gru")).layer.apply(params, x)
    np.testing.assert_array_equal(layer.apply(params, x)[1], plain)
    # At rate 1 the second layer sees zeros.
    _, above = layer.apply(params, x, key=jax.random.key(0))
    _, alone = rnnjax.unroll(rnnjax.cells.gru(4, 4), params[1], jnp.zeros((*x.shape[:2], 4)))
    np.testing.assert_allclose(above, alone, atol=1e-6)
    with pytest.raises(ValueError, match=r"dropout: expected 0 for one layer, got 0.5; .*layers"):
        from_torch(weights("lstm"), dropout=0.5)
    with pytest.raises(ValueError, match=r"dropout: expected a rate from 0 to 1, got 2"):
        from_torch(weights("gru"), dropout=2)


@pytest.mark.parametrize(
    ("kind", "batch", "options"),
    [
        ("LSTM", (2,), {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
        ("GRU", (), {"num_layers": 2}),
        ("RNN", (2,), {"bidirectional": True}),
    ],
)
def test_live_states_go_there_and_back(kind, batch, options):
    """A sequence goes on in either library from where the other one left it."""
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, kind)(3, 4, **options)
    x = torch.randn(5, *batch, 3)
    with torch.no_grad():
        _, middle = module(x)
        expected, last = module(x, middle)
    layer, params = from_torch(module.state_dict())
    inputs = jnp.asarray(x.numpy())
    ours = layer.apply(params, inputs)[0]
    taken = from_torch_state(params, middle)
    assert jax.tree.map(jnp.shape, taken) == jax.tree.map(jnp.shape, ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), taken, ours)
    final, outputs = layer.apply(params, inputs, taken)
    np.testing.assert_allclose(outputs, expected.numpy(), atol=1e-6)
    back = jax.tree.map(torch.as_tensor, to_torch_state(final))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), back, last)
    with torch.no_grad():
        module(x, back)  # torch checks the shapes


def test_states_that_do_not_fit_are_named():
    params = from_torch(weights("lstm_projected")).params
    h, c = np.zeros((4, 3, 2)), np.zeros((4, 3, 4))
    state = from_torch_state(params, (h, c))
    assert isinstance(state[1].backward, LSTMState)
    # A narrow module keeps a narrow state, ours one in float32.
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert from_torch_state(half, (h, c))[0].forward.h.dtype == jnp.float32
    for given, error, message in [
        ((params, h), TypeError, "state: expected h_n and c_n for LSTMParams, got 1 array;"),
        ((params[0].forward._replace(W_hr=None), (c, c, c)), TypeError, "got 3 arrays"),
        ((params, (c, c)), ValueError, r"h_n: expected \(4, 3, 2\), .*got \(4, 3, 4\)"),
        ((params, (h, c[:2])), ValueError, r"c_n: expected \(4, 3, 4\), .*got \(2, 3, 4\)"),
        ((params, (h[0, 0], c)), ValueError, r"h_n: expected \(4, 2\), .*got \(2,\)"),
        (((params[0].forward, ELMAN), h), ValueError, "of one kind, .*LSTMParams, ElmanParams"),
        ((params, ("h", c)), TypeError, "h_n: expected an array of numbers, got str"),
    ]:
        with pytest.raises(error, match=message):
            from_torch_state(*given)
    for wrong in [
        (state[0], state[0].forward),
        (state[0].forward, c[0]),
        (c[0], h[0]),
    ]:
        with pytest.raises(ValueError, match="state: expected layers of one kind, size and"):
            to_torch_state(wrong)
    with pytest.raises(TypeError, match="state 0: expected an array of numbers, got dict"):
        to_torch_state({"h": h})


def test_live_a_module_itself_is_refused_with_what_to_pass():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"arrays: expected a mapping .*got LSTM; pass the state_d"):
        from_torch(torch.nn.LSTM(2, 3))


def test_live_tensor_without_numbers_is_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"weight_hh_l0: expected an array, got Tensor: .*meta"):
        from_torch({"weight_hh_l0": torch.zeros(4, 4, device="meta")})


def test_what_is_no_array_is_named():
    with pytest.raises(TypeError, match="weight_ih_l0: expected an array of numbers, got str"):
        from_torch({"weight_ih_l0": "wrong"})


ELMAN = ElmanParams(np.ones((3, 4)), np.ones((4, 4)), np.ones(4))
GRU = GRUParams(np.ones((3, 12)), np.ones((4, 12)), np.ones(12), b_hn=None)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (GRU, ValueError, "reset_after=True, got b_hn = None"),
        ({"W": np.ones(3)}, TypeError, "got dict for a cell"),
        ((ELMAN, (ELMAN, ELMAN)), TypeError, "got tuple for a cell"),
        ((ELMAN, ELMAN), ValueError, r"weight_ih_l1 is \(4, 3\), expected \(4, 4\)"),
        (
            (ELMAN, LSTMParams(np.ones((4, 16)), np.ones((4, 16)), np.ones(16))),
            ValueError,
            r"weight_hh_l1 is \(16, 4\), expected \(4, 4\).*torch has no module",
        ),
        ((Directions(ELMAN, ELMAN), ELMAN), ValueError, r"weight_hh_l1_reverse \(4, 4\) is miss"),
    ],
)
def test_what_torch_has_not_is_refused(params, error, message):
    with pytest.raises(error, match=message):
        to_torch(params)
