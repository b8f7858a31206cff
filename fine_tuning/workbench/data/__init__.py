"""Conversations and data sets: recording, cleaning, reviewing, preparing, exporting, forgetting."""
