"""Warns of a GPU in the machine that JAX does not see: the benchmark then measures the CPU."""

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
    """The warning, or None if there is no GPU or JAX runs on it.

    Args:
      root: of the file system in which NVIDIA's driver shows its devices.
      backend: what JAX runs on; by default `jax.default_backend()`.
      environment: the environment variables, of which JAX_PLATFORMS selects JAX's backend.
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
        f"There is a GPU in this machine, {devices[0]}, but JAX does not see it: the results will "
        f"be those of the {backend}. To measure the GPU, {remedy}"
    )


def warn(told: str) -> None:
    """Prints to standard error, in red on a terminal if NO_COLOR is not set."""
    console = Console(stderr=True)
    with contextlib.suppress(OSError):  # continue even if the warning cannot be printed
        console.print(told, style="red", markup=False, highlight=False, soft_wrap=True)
