"""Strict numerics for every test, on eight virtual devices."""

import gc
import os

import hypothesis
import jax
import pytest

os.environ["XLA_FLAGS"] = " ".join(
    ["--xla_force_host_platform_device_count=8", os.environ.get("XLA_FLAGS", "")]
)


def pytest_configure(config: pytest.Config) -> None:
    """Daily tests compile to plain machine code; slow ones to what users get."""
    # Most of the time goes into compiling, and most of that into LLVM.
    flags = ["--xla_backend_optimization_level=0"]
    if jax.__version__.startswith("0.10."):  # later ones do not know it, and abort
        flags += ["--xla_cpu_use_fusion_emitters=false"]
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ["XLA_FLAGS"]])


# Tracing makes many objects, few of them garbage: collecting as often as by default takes a tenth
# of the time.
gc.freeze()
gc.set_threshold(200_000)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every example compiles a program of its own.
hypothesis.settings.register_profile(
    "rnnjax",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=12,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("rnnjax")

_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: _compiled.append(event) if "backend_compile" in event else None
)


@pytest.fixture
def compilations() -> list[str]:
    """What XLA has compiled since the test began; grows as it goes."""
    _compiled.clear()
    return _compiled
