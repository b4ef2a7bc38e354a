"""`invoke doctor`: facts gathered once, judged by small pure checks; each finding has its fix."""
