"""How sure a result is: intervals, and means over seeds."""
