"""From a data set snapshot to an adapter."""
