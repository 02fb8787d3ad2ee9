"""Why order matters: networks that cannot see it, and one that can."""
