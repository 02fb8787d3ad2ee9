"""An LSTM that predicts the next word of Shakespeare, against n-grams."""
