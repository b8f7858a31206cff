"""The doctor: what is installed and in use, what is slow and why, and what to do next."""
