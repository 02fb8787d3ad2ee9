"""JAX's error for forward-mode differentiation, with a remedy.

JAX cannot push a tangent through a custom reverse rule, and its error does not say which
function is meant.
"""

import contextlib
from collections.abc import Iterator

REFUSED = (
    "fold: expected one with a derivative in forward mode (jvp, jacfwd, linearize), got one with a "
    "custom reverse rule, or a step with a jax.custom_vjp in it; use "
    "`fold=rnnjax.folds.scan()`, and in a step of your own jax.custom_jvp"
)


@contextlib.contextmanager
def with_remedy() -> Iterator[None]:
    """Replaces JAX's error by one that names the fold and the remedy.

    Raises:
      TypeError: in place of JAX's.
    """
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error) or str(error) == REFUSED:
            raise
        raise TypeError(REFUSED) from error
