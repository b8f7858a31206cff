"""From clean conversations to examples, token ids and data set snapshots."""
