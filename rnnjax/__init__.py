"""Recurrent networks as pure functions folded over time."""

__version__ = "0.1.0"

from rnnjax import cells, folds, initializers, layers, training
from rnnjax._cell import Cell, from_step, step
from rnnjax._devices import over_devices
from rnnjax._planning import Plan, plan
from rnnjax._unroll import Options, lengths_to_mask, states, unroll
from rnnjax.diagnostics import (
    Adjoints,
    GradientReport,
    NonFinite,
    adjoints,
    gradient_report,
    gradient_reports,
    jacobian_product_spectrum,
    norm_bound,
    step_jacobians,
)

__all__ = [
    "Adjoints",
    "Cell",
    "GradientReport",
    "NonFinite",
    "Options",
    "Plan",
    "adjoints",
    "cells",
    "folds",
    "from_step",
    "gradient_report",
    "gradient_reports",
    "initializers",
    "jacobian_product_spectrum",
    "layers",
    "lengths_to_mask",
    "norm_bound",
    "over_devices",
    "plan",
    "states",
    "step",
    "step_jacobians",
    "training",
    "unroll",
]
