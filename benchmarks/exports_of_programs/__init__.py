"""Exports of ten programs, and the share of their replies that reach training."""
