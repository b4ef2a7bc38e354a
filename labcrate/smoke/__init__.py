"""Tests that run inside the lab's image, and the proof that its GPU computes."""
