"""What is shipped: what it brings with it, and that it works where there is no checkout."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from pages import ROOT

HEAVY = {
    "equinox", "flax", "h5py", "haiku", "keras", "matplotlib", "orbax", "rich", "safetensors",
    "tensorflow", "torch",
}  # fmt: skip


def run(*command: object, cwd: Path = ROOT) -> str:
    """What it prints; the environment's own path to the checkout is left behind."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=None, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
