"""The versions that results were made with."""

import importlib.metadata
import platform


def versions(*packages: str) -> dict[str, str | None]:
    """Of Python and of these packages, None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
