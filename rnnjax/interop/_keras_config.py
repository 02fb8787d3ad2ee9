"""Reads the config of a Keras layer, for what its weights do not determine.

It reads plain dictionaries; nothing that they name is imported or run.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

KINDS = ("SimpleRNN", "GRU", "LSTM")
FROM_LAYER = (
    "pass `layer.get_config()` of the recurrent layer, or take it from the config of a model with "
    "`layer_config`"
)


class Direction(NamedTuple):
    """A recurrence in one direction.

    Attributes:
      kind: one of `KINDS`.
      units: H.
      use_bias: whether it has biases.
      activation: its name in Keras, or Keras's serialized form if it has no name.
      recurrent_activation: the same for the gates; None for a SimpleRNN.
      reset_after: of a GRU; None for the others.
      go_backwards: whether it runs from the last step to the first.
      return_sequences: whether it returns all outputs, or only the last.
    """

    kind: str
    units: Any
    use_bias: Any
    activation: Any
    recurrent_activation: Any
    reset_after: Any
    go_backwards: bool
    return_sequences: bool


class LayerConfig(NamedTuple):
    """The config of a layer.

    Attributes:
      what: its name in an error.
      directions: one, or the two of a Bidirectional.
      merge_mode: of a Bidirectional.
    """

    what: str
    directions: tuple[Direction, ...]
    merge_mode: Any


def read_layer(config: Any, what: str) -> tuple[LayerConfig, ...]:
    """Reads `layer.get_config()`, or a mapping of it and the class name, as in a file.

    Args:
      config: of a SimpleRNN, LSTM, GRU or Bidirectional, of one of their cells, or of an RNN
        of one or several such cells.
      what: its name in an error.

    Returns:
      The config of the layer; for an RNN of several cells one for each, as stacked layers.

    Raises:
      TypeError: it is not a mapping.
      ValueError: the config of another layer, or a key is missing.
    """
    kind, own = _open(config, what)
    if kind in (None, "RNN") and (cells := _stacked_cells(own.get("cell"))):
        return tuple(_read_cell(own, k, cells, f"{what}, cell {k}") for k in range(len(cells)))
    if kind != "Bidirectional" and (kind is not None or "layer" not in own):
        return (LayerConfig(what, (_read_direction(config, what),), None),)
    _check_keys(own, ("layer", "merge_mode"), "Bidirectional", what)
    forward = _read_direction(own["layer"], f"{what}, forward")
    backward = forward._replace(go_backwards=not forward.go_backwards)
    if "backward_layer" in own:  # Keras 2 omits it if it is the forward layer reversed.
        backward = _read_direction(own["backward_layer"], f"{what}, backward")
    if forward.go_backwards == backward.go_backwards:
        raise ValueError(
            f"{what}: expected go_backwards of one direction, got {forward.go_backwards} of both; "
            f"{FROM_LAYER}"
        )
    return (LayerConfig(what, (forward, backward), own["merge_mode"]),)


def _read_cell(rnn: Mapping[str, Any], k: int, cells: Sequence[Any], what: str) -> LayerConfig:
    """One of the cells of an RNN, as a layer stacked on the previous one."""
    direction = _read_direction({**rnn, "cell": cells[k]}, what)
    if k > 0:
        # Its inputs were already reversed for the first cell.
        direction = direction._replace(go_backwards=False)
    if k < len(cells) - 1:
        direction = direction._replace(return_sequences=True)
    return LayerConfig(what, (direction,), None)


def _stacked_cells(cell: Any) -> list[Any]:
    """The cells of `RNN([cell, cell])`, none for an RNN of one."""
    own = cell.get("config") if isinstance(cell, Mapping) else None
    cells = own.get("cells") if isinstance(own, Mapping) else None
    return cells if isinstance(cells, list) else []


def _read_direction(config: Any, what: str) -> Direction:
    kind, own = _open(config, what)
    if kind in (None, "RNN") and "cell" in own:
        kind, cell = _open(own["cell"], what)
        own = {**own, **cell}
    name = kind
    if kind is None:
        # A layer's own config holds its name, not its class.
        name = own.get("name")
        with_gates = "GRU" if "reset_after" in own else "LSTM"
        kind = with_gates if "recurrent_activation" in own else "SimpleRNN"
        if name is not None and "recurrent_initializer" not in own:
            kind = "Other"
    kind = kind.removesuffix("Cell")
    if kind not in KINDS:
        raise ValueError(
            f"{what}: expected that of a SimpleRNN, LSTM, GRU or Bidirectional, got that of "
            f"{name!r}; {FROM_LAYER}, and convert Keras's own layers and cells one by one"
        )
    keys = ["units", "use_bias", "activation"]
    keys += ["recurrent_activation"] if kind != "SimpleRNN" else []
    keys += ["reset_after"] if kind == "GRU" else []
    _check_keys(own, keys, kind, what)
    return Direction(
        kind,
        units=own["units"],
        use_bias=own["use_bias"],
        activation=own["activation"],
        recurrent_activation=own.get("recurrent_activation"),
        reset_after=own.get("reset_after"),
        # A cell has neither.
        go_backwards=bool(own.get("go_backwards", False)),
        return_sequences=bool(own.get("return_sequences", True)),
    )


def _open(config: Any, what: str) -> tuple[str | None, Mapping[str, Any]]:
    """The class name, if it is given, and the config of the layer."""
    if isinstance(config, Mapping) and isinstance(config.get("config"), Mapping):
        return str(config.get("class_name")), config["config"]
    if not isinstance(config, Mapping):
        raise TypeError(f"{what}: expected a mapping, got {type(config).__name__}; {FROM_LAYER}")
    return None, config


def _check_keys(config: Mapping[str, Any], keys: Sequence[str], kind: str, what: str) -> None:
    missing = [key for key in keys if key not in config]
    if missing:
        raise ValueError(
            f"{what}: expected that of a {kind}, got one without {missing}; {FROM_LAYER}"
        )
