"""The clone: where it is, its settings, its lock, and what this host adds to it."""
