"""One claim a module: `python -m experiments` lists them, and runs one by name.

Every file here is an experiment; what they share is in `experiments/common`.
"""
