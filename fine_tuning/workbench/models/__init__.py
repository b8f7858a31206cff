"""Tuned models: versions, lineage, deployment, aliases, A/B tests, files to take along."""
