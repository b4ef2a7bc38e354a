"""The same lab on several machines: one node on each, joined by Ray."""
