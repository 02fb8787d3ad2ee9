"""Diagnostics of a trajectory: Jacobians, spectra, adjoints, bounds."""

from rnnjax.diagnostics._adjoints import Adjoints, NonFinite, adjoints
from rnnjax.diagnostics._bounds import norm_bound
from rnnjax.diagnostics._jacobians import jacobian_product_spectrum, step_jacobians
from rnnjax.diagnostics._report import GradientReport, gradient_report, gradient_reports

__all__ = [
    "Adjoints",
    "GradientReport",
    "NonFinite",
    "adjoints",
    "gradient_report",
    "gradient_reports",
    "jacobian_product_spectrum",
    "norm_bound",
    "step_jacobians",
]
