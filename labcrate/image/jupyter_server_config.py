"""JupyterLab inside the lab: one known port, one token, no way around it."""

import ipaddress
import logging
import os
import re
import warnings
from pathlib import Path

from jupyter_server.utils import JupyterServerAuthWarning

TOKEN_FILE = Path("/run/secrets/jupyter_token")
token = TOKEN_FILE.read_text().strip() if TOKEN_FILE.exists() else ""
if not token:
    # Jupyter takes an empty token to mean "no authentication": never start like that.
    raise SystemExit("JUPYTER_TOKEN is empty: run `invoke setup`, or set it in .env")


class HostsLinks(logging.Filter):
    """The server knows the container's name and port alone: its own links lead nowhere outside."""

    def filter(self, record):
        text = record.getMessage()
        if re.match(r"Jupyter Server \S+ is running at:$", text):
            ready = text.replace(" at:", "; on the host, `invoke url` prints its link")
            record.msg, record.args = ready, ()
        return not re.fullmatch(r"\s*https?://\S+", text)


logging.getLogger("ServerApp").addFilter(HostsLinks())

c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.IdentityProvider.token = token
# A route whose author forgot to ask for the token is closed, too; extensions bring such routes.
c.ServerApp.allow_unauthenticated_access = False
# It names each such route at every start; all that we have are closed by it (a test walks them).
warnings.filterwarnings("ignore", category=JupyterServerAuthWarning)
# On the loopback only this machine's own names are answered: a web page whose name is made to point
# here (DNS rebinding) is turned away. Published elsewhere, the machine has names we cannot know.
bound = ipaddress.ip_address(os.environ.get("BIND_ADDRESS") or "127.0.0.1")
c.ServerApp.allow_remote_access = not bound.is_loopback
# All interfaces of the container; Compose publishes the port on the host's loopback alone.
c.ServerApp.ip = "0.0.0.0"  # noqa: S104
c.ServerApp.port = 8888
# Jupyter would hop to the next free port, and the published one would be dead.
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/lab"
c.FileContentsManager.preferred_dir = os.path.relpath(os.environ["JUPYTER_DIR"], "/lab")
# A rootless engine maps the caller to uid 0 of the container, and to nobody else outside.
c.ServerApp.allow_root = os.getuid() == 0
c.ServerApp.quit_button = False
# sh knows no history, no completion and no arrow keys. Not a login shell: that resets PATH.
c.ServerApp.terminado_settings = {"shell_command": ["/bin/bash"]}
# A desktop's trash in the home volume would keep every deleted file for ever, and nobody sees it.
c.FileContentsManager.delete_to_trash = False
c.FileContentsManager.always_delete_dir = True
# The lab calls nobody unasked: no news, no update check, no list of extensions from the network.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
# A kernel that nobody uses keeps its memory on the card. One that computes is never ended.
idle_s = int(float(os.environ.get("IDLE_HOURS") or 0) * 3600)
if idle_s:
    c.MappingKernelManager.cull_idle_timeout = idle_s
    c.MappingKernelManager.cull_interval = 60
    # A page that was left open holds no kernel.
    c.MappingKernelManager.cull_connected = True
    c.MappingKernelManager.cull_busy = False
