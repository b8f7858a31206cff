"""Long work of the workbench: its kinds, what each does, and how a person asks for it."""
