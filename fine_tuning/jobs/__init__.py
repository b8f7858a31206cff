"""Long work in processes of its own: a durable queue, a registry of kinds, the program of one."""
