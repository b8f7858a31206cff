"""Settings: one schema, one YAML file, one loader."""
