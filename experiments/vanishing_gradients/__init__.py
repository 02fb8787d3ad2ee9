"""The vanishing gradient: how much of it is left, and what that costs."""
