"""Every route of JupyterLab's server, as JSON: run inside the lab, with the lab's configuration.

It makes a second server of the same packages and settings, starts none of it, and reads its routes.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterlab.labapp import LabApp  # type: ignore[import-not-found]


def walk(router: Any) -> list[tuple[str, str]]:
    found = []
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            found += walk(rule.target)
        else:
            found.append((rule.matcher.regex.pattern, rule.target.__name__))
    return found


server = LabApp.initialize_server(argv=["--ServerApp.port=0", "--ServerApp.open_browser=False"])
print("ROUTES" + json.dumps(sorted(set(walk(server.web_app.default_router)))))
