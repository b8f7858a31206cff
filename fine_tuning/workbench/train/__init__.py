"""Training: checks before it, forecasts, runs begun and gone on with."""
