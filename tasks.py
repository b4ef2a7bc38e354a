"""The lab's verbs, and yours: `invoke --list` shows them, `invoke VERB --help` explains one."""

from invoke import Context, task

from labcrate.tasks import lab_tasks


@task(help={"window": "how many values each mean is taken over"})
def example(c: Context, window: int = 2) -> None:
    """An example of a task of your own: run code of src/ in the lab's image."""
    code = f"import example; print(example.moving_average([1.0, 2.0, 6.0], {window}))"
    c.run(f"invoke run -- python -c '{code}'")


namespace = lab_tasks(example)
