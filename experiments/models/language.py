"""A recurrent language model, trained on one long text with its state carried on."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import rnnjax
from experiments.lab.command_line import say
from rnnjax.interop.nnx import RNN
from rnnjax.training import begin, fit

# A network whose state has never been fresh since training began is lost with a fresh one: what
# it came to keep in its state for good is missing. So now and then it begins anew.
RESTART = 1 / 16


class LanguageModel(nnx.Module):
    """Which token comes next: embedding, recurrence, readout.

    Where the vocabulary is large the embedding is the readout, too: that halves the
    parameters, and a token is likely where its own embedding is near h (Press and Wolf
    2017). As an input it is scaled up (Vaswani 2017, section 3.4), since inputs want to be
    of size one and logits small.

    Args:
      cell: `(input_size, hidden_size) -> Cell`.
      vocabulary: V.
      size: H, of the hidden state.
      embedding: E, numbers in an embedding; None for H, and the same for the readout.
      dropout: rate, before and behind the recurrence.
      rngs: what the parameters are drawn with.
    """

    def __init__(
        self,
        cell: Callable[[int, int], rnnjax.Cell],
        vocabulary: int,
        size: int,
        *,
        embedding: int | None = None,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        width = embedding or size
        drawn = jax.nn.initializers.normal(width**-0.5)
        self.table = nnx.Embed(vocabulary, width, embedding_init=drawn, rngs=rngs)
        self.rnn = RNN(cell(width, size), time_major=True, return_carry=True, rngs=rngs)
        self.readout = None if embedding is None else nnx.Linear(size, vocabulary, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(vocabulary, jnp.float32)) if embedding is None else None
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self, tokens: jax.Array, state: Any = None, rngs: nnx.Rngs | None = None
    ) -> tuple[Any, jax.Array]:
        """The state after tokens `[T, B]`, and the logits of what follows each, `[T, B, V]`."""
        state, h = self.read(self.embed(tokens), state, rngs)
        return state, self.logits(h)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """The rows of tokens `[...]`, `[..., E]`, their numbers of size one."""
        return self.table(tokens) * self.table.features**0.5

    def read(
        self, embedded: jax.Array, state: Any = None, rngs: nnx.Rngs | None = None
    ) -> tuple[Any, jax.Array]:
        """The state after embeddings `[T, B, E]`, and h after each; `rngs` drop some out."""
        x = self.dropout(embedded, deterministic=rngs is None, rngs=rngs)
        state, h = self.rnn(x, initial_carry=state)
        return state, self.dropout(h, deterministic=rngs is None, rngs=rngs)

    def logits(self, h: jax.Array) -> jax.Array:
        """Of the token that follows h `[..., H]`."""
        return self.table.attend(h) + self.bias if self.readout is None else self.readout(h)


def log_probabilities(
    model: LanguageModel, text: np.ndarray, *, before: int, rows: int = 1, window: int = 256
) -> np.ndarray:
    """Of every token of a text after all before it, `[N]`, in nats.

    Args:
      model: reads the text in one pass, its state carried from beginning to end.
      text: `[N]`.
      before: the token that the first one follows.
      rows: parts read side by side, each from a fresh state; faster.
      window: tokens whose logits are held at a time.
    """
    count = -(-len(text) // (rows * window))
    padded = np.full(rows * count * window + 1, before, np.int32)
    padded[1 : len(text) + 1] = text

    def parts(stream: np.ndarray) -> np.ndarray:
        return stream.reshape(rows, count, window).transpose(1, 2, 0)

    graph, params = nnx.split(model)
    found = _scored(graph, params, parts(padded[:-1]), parts(padded[1:]))
    return np.asarray(found).transpose(2, 0, 1).reshape(-1)[: len(text)]


@partial(jax.jit, static_argnums=0)
def _scored(graph: Any, params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Windows one after the other: `[W, T, B]` of inputs, of targets and of the result."""
    model = nnx.merge(graph, params)

    def score(state: Any, window: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        state, logits = model(window[0], state)
        return state, -optax.softmax_cross_entropy_with_integer_labels(logits, window[1])

    # A sequence of no tokens ends in the state that every sequence begins with.
    start, _ = model(inputs[0, :0])
    return jax.lax.scan(score, start, (inputs, targets))[1]


def train(
    model: LanguageModel,
    text: np.ndarray,
    *,
    batch: int,
    window: int,
    steps: int,
    learning_rate: float,
    key: jax.Array,
    validate: Callable[[LanguageModel], float],
    looks: int,
    metrics: Path,
) -> LanguageModel:
    """Reads the text from `batch` places on, window after window, each state handed over.

    A share RESTART of the rows gets a fresh state instead, others in every window.

    Adam, its rate rising over the first twentieth and falling to zero along a cosine; the
    gradient's norm is cut at one.

    Args:
      model: as it was drawn; left as it is.
      text: `[N]`, cut into rows of equal length, each read round and round.
      batch: rows.
      window: tokens between two updates.
      steps: updates.
      learning_rate: the highest.
      key: what is dropped out and who begins anew follow from it.
      validate: the loss of a model on other text, in nats a token.
      looks: how often it is asked.
      metrics: a JSON Lines file to append to, as of `rnnjax.training.fit`.
    """
    length = len(text) // batch
    rows = jnp.asarray(text[: batch * length].reshape(batch, length).T)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def windows() -> Iterator[tuple[jax.Array, jax.Array]]:
        for step in range(steps):
            places = (step * window + np.arange(window + 1)) % length
            yield rows[places], jax.random.fold_in(key, step)

    def loss(params: Any, state: Any, window: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        """Of the next token."""
        tokens, key = window
        model = nnx.merge(graph, params, rest)
        fresh = jax.random.bernoulli(jax.random.fold_in(key, 0), RESTART, (batch, 1))
        start, _ = model(tokens[:0])
        state = jax.tree.map(partial(jnp.where, fresh), start, state)
        state, logits = model(tokens[:-1], state, nnx.Rngs(dropout=jax.random.fold_in(key, 1)))
        each = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[1:])
        return jnp.mean(each), state

    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 20, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    start, _ = model(rows[:0])
    fitted = fit(
        loss,
        begin(params, optimizer, carry=start),
        windows(),
        optimizer,
        chunk=-(-steps // looks),
        validate=lambda params: validate(nnx.merge(graph, params, rest)),
        callback=lambda state, record: say(
            ", ".join(f"{name} {value:.5g}" for name, value in record.items())
        ),
        metrics=metrics,
        quiet=True,
    )
    return nnx.merge(graph, fitted.state.params, rest)
