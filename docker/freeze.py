"""Print every installed distribution as a `name==version` constraint, names normalised."""

import re
from importlib.metadata import distributions

found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in distributions()}
print("\n".join(f"{name}=={version}" for name, version in sorted(found.items())))
