"""Readers of other programs' exports, a module each."""
