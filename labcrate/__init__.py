"""The cranky layer behind tasks.py: decisions are pure functions, one module starts processes."""
