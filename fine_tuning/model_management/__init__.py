"""Versions of models: registry, deployment, switching."""
