"""Weights in and out of other libraries, and the files that hold them.

Each module is imported by its name, `from rnnjax.interop import torch`, and needs the
library that it is about only where its docstring says so.
"""
