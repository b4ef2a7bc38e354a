"""These tests run inside the lab's image: `nox -s smoke`, or `nox -s gpu_smoke` for those on a GPU.

Fixtures and markers come from the lab's pytest plugin: figures, cuda, `@pytest.mark.gpu`.
"""

from pathlib import Path

import pytest

if not Path("/opt/lab").exists():
    pytest.exit("these tests run in the lab's image: python3 bootstrap.py nox -s smoke", 4)
