"""How fast, and how large: every way of folding a recurrence against every other library."""
