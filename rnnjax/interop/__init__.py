"""Weights to and from other libraries, and the files that hold them.

Each module is imported by name, `from rnnjax.interop import torch`, and needs the other
library only where its docstring says so.
"""

from rnnjax.interop._arrays import Loaded
from rnnjax.interop._foreign import ForeignState

__all__ = ["ForeignState", "Loaded"]
