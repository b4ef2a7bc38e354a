"""An example of code of your own: every notebook, task and terminal of the lab can import it."""


def moving_average(values: list[float], window: int) -> list[float]:
    """The mean of the last `window` values at each place, of fewer at the start."""
    parts = (values[max(0, end - window) : end] for end in range(1, len(values) + 1))
    return [sum(part) / len(part) for part in parts]
