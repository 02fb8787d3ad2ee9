"""Temperature: a use in which a linear model is hard to beat."""
