"""Where things lie: conversation stores, whole-or-absent folders."""
