"""A GPU that is in the machine and that JAX does not see: what is measured is the CPU."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import jax
from rich.console import Console


def unseen_gpu(
    root: Path = Path("/"),
    backend: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """What to tell of it, or None where there is none or JAX runs on it.

    Args:
      root: of the file system in which NVIDIA's driver shows its devices.
      backend: what JAX runs on; found out unless given.
      environment: the variables that tell JAX where to run.
    """
    devices = sorted((root / "dev").glob("nvidia[0-9]*"))
    backend = jax.default_backend() if backend is None else backend
    if not devices or backend == "gpu":
        return None
    chosen = environment.get("JAX_PLATFORMS", "")
    remedy = (
        f"unset JAX_PLATFORMS, which is {chosen}"
        if chosen
        else "install JAX for it: make bench EXTRA=cuda, or pip install '.[cuda]'"
    )
    return (
        f"There is a GPU in this machine, {devices[0]}, and JAX does not see it: these will be the "
        f"figures of the {backend}. To measure the GPU, {remedy}"
    )


def warn(told: str) -> None:
    """On standard error; in red where that is a terminal and NO_COLOR is not set."""
    console = Console(stderr=True)
    with contextlib.suppress(OSError):  # where nobody can be warned, the work goes on
        console.print(told, style="red", markup=False, highlight=False, soft_wrap=True)
