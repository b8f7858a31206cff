"""Scripts that make and check the repository's own files."""
