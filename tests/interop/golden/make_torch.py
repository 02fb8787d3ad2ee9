"""What torch computes: weights, inputs, outputs and gradients of small modules.

    python tests/interop/golden/make_torch.py

writes torch_NAME.npz beside this file for every case of the table; `record` is what the
tests hold live against our layers too.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

T, B, D, H = 5, 3, 3, 4

CASES: dict[str, Callable[[], nn.RNNBase]] = {
    "rnn": lambda: nn.RNN(D, H, bidirectional=True),
    "relu": lambda: nn.RNN(D, H, nonlinearity="relu"),
    "gru": lambda: nn.GRU(D, H, 2),
    "gru_without_bias": lambda: nn.GRU(D, H, bias=False),
    "lstm": lambda: nn.LSTM(D, H),
    "lstm_projected": lambda: nn.LSTM(D, H, 2, bidirectional=True, proj_size=2),
}
LENGTHS = {"lstm_projected": (5, 2, 4)}


def record(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name; the loss is the sum of `outputs * cotangent`, time first."""
    torch.manual_seed(seed)
    module = CASES[name]()
    # The default weights of a narrow module are so small that a wrong gate hardly shows.
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    inputs = torch.randn(T, B, D, requires_grad=True)
    lengths = torch.tensor(LENGTHS.get(name, (T,) * B))
    packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    outputs, _ = pad_packed_sequence(module(packed)[0], total_length=T)
    cotangent = torch.randn(outputs.shape)
    (outputs * cotangent).sum().backward()
    arrays = {
        "inputs": inputs,
        "lengths": lengths,
        "outputs": outputs,
        "cotangent": cotangent,
        "gradient/inputs": inputs.grad,
    }
    for key, parameter in module.named_parameters():
        arrays |= {f"weights/{key}": parameter, f"gradient/weights/{key}": parameter.grad}
    return {key: array.detach().numpy() for key, array in arrays.items()}


if __name__ == "__main__":
    versions = np.array([f"torch {torch.__version__}", f"numpy {np.__version__}"])
    for case in CASES:
        file = Path(__file__).with_name(f"torch_{case}.npz")
        np.savez_compressed(file, versions=versions, **record(case))
