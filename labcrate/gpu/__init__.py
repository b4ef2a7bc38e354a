"""The GPU: the machine's cards, the way to them, the build of PyTorch, and what the proof said."""
