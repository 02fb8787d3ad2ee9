"""What is drawn is what was measured."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import cells

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from matplotlib.figure import Figure  # noqa: E402

from rnnjax import plots  # noqa: E402

CELL = cells.elman(1, 3, activation=lambda a: a, dtype=jnp.float64)
PARAMS = CELL.init(jax.random.key(0))._replace(W_hh=0.5 * jnp.eye(3))
INPUTS = jnp.ones((10, 2, 1))


@pytest.fixture
def ax():
    return Figure().subplots()


def only_line(ax):
    return ax.lines[0].get_xydata().T


def test_gradient_norms(ax):
    plots.gradient_norms(ax, rnnjax.gradient_report(CELL, PARAMS, INPUTS), label="linear")
    lag, power = only_line(ax)
    np.testing.assert_array_equal(lag, np.arange(11))
    np.testing.assert_allclose(power, lag * math.log10(0.5), atol=1e-12)
    assert ax.get_legend_handles_labels()[1] == ["linear"]
    assert ax.lines[1].get_ydata()[0] == -2


def test_adjoint_norms(ax):
    def loss(params):
        final, _ = rnnjax.unroll(CELL, params, INPUTS)
        return final[..., 0].sum()

    plots.adjoint_norms(ax, rnnjax.adjoints(loss, PARAMS).adjoints[0])
    lag, power = only_line(ax)
    np.testing.assert_allclose(power, lag * math.log10(0.5), atol=1e-12)
    assert len(lag) == 10


@pytest.mark.parametrize(
    ("batch_axes", "shapes"),
    [(1, [(2,)]), (1, [(2, 3, 3), (2,)]), (0, [(3,)]), (2, [(2, 4, 3)]), (None, [(2, 3), (2, 4)])],
)
def test_adjoint_norms_are_those_of_each_member(ax, batch_axes, shapes):
    """Whatever rank a member's state has, and however many axes the batch."""
    leaves = [np.random.default_rng(0).normal(size=(5, *shape)) for shape in shapes]
    plots.adjoint_norms(ax, leaves, batch_axes=batch_axes)
    batch = 1 if batch_axes is None else batch_axes
    members = int(np.prod(shapes[0][:batch]))
    rows = np.concatenate([leaf.reshape(5, members, -1) for leaf in leaves], axis=-1)
    wanted = np.median(np.log10(np.linalg.norm(rows, axis=-1)), axis=1)
    np.testing.assert_allclose(only_line(ax)[1], wanted[::-1], atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 2), (5, 2, 3, 3)])
def test_adjoint_norms_do_not_guess_the_batch(ax, shape):
    with pytest.raises(ValueError, match=r"batch_axes: expected the number of .* batch_axes=1 for"):
        plots.adjoint_norms(ax, jnp.zeros(shape))


@pytest.mark.parametrize(("batch_axes", "shapes"), [(1, [(5, 2), (5, 3)]), (2, [(5, 2)]), (1, [])])
def test_adjoint_norms_of_leaves_that_disagree(ax, batch_axes, shapes):
    with pytest.raises(ValueError, match="adjoint: expected leaves that begin with time and"):
        plots.adjoint_norms(ax, [jnp.zeros(shape) for shape in shapes], batch_axes=batch_axes)


def test_spectrum_and_bound_fall_together(ax):
    plots.spectrum(ax, rnnjax.jacobian_product_spectrum(CELL, PARAMS, INPUTS), most=2)
    assert len(ax.lines) == 2
    plots.bound(ax, rnnjax.norm_bound(PARAMS.W_hh), 10)
    np.testing.assert_allclose(only_line(ax)[1][-1], ax.lines[2].get_ydata()[1], rtol=1e-12)


def test_jacobian_norms(ax):
    plots.jacobian_norms(ax, rnnjax.step_jacobians(CELL, PARAMS, INPUTS))
    np.testing.assert_allclose(only_line(ax)[1], 0.5)


def test_a_gradient_of_zero_is_a_gap(ax):
    resets = jnp.zeros((10, 2), bool).at[4].set(True)
    report = rnnjax.gradient_report(CELL, PARAMS, INPUTS, resets=resets)
    plots.gradient_norms(ax, report)
    assert np.isnan(only_line(ax)[1]).tolist() == [False] * 6 + [True] * 5
