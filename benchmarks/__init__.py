"""How fast, and how large: every way of folding a recurrence against every other library."""

import experiments  # noqa: F401 (reports which of the packages that both need are missing)
