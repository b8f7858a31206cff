"""The composition root: one method per user intention, the only place that joins concrete parts."""
