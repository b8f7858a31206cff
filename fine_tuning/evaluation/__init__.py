"""Is it better? Metrics, evaluation, comparison."""
