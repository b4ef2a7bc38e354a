"""What the tasks ask inside an image or a running lab. Standard library only; answers are JSON.

inside.py installed                   every distribution that is there
inside.py resolve DOCKER OUT          what packages.in adds to this image, as a lock
inside.py verify DOCKER OUT NAME ...  whether the base is unchanged, the lock is installed, and
                                      each NAME imports
inside.py work                        what ends with this container: what computes, kernels with
                                      variables, and what was installed since it was made

DOCKER is the folder with packages.in and its lock. Where there is an OUT, the answer is a file in
it. Run isolated (python -I): the owner's files must not be imported in place of a library.
"""

import http.client
import json
import os
import queue
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path("/opt/lab/constraints.txt")
IMPORT_S = 120
"""Seconds one package may take to import; transformers with torch takes about 3."""
PRINTED = 4000
"""Characters of what a failed import printed that are kept, from the end."""
ANSWER_S = 1.0
"""Seconds in which a kernel with nothing to do answers; it needs some milliseconds."""
SERVER_S = 5.0
"""Seconds for one answer of JupyterLab; a healthy server needs some milliseconds."""
PORT = 8888
"""JupyterLab's, as the lab publishes it."""
MADE = Path("/.dockerenv")
"""The engine writes it as it makes the container: what is younger was not in the image."""
SHELLS = ("sh", "bash", "dash", "zsh", "fish")


STARTING = ["runc", "init"]
"""What a process of `docker exec` is called before it is the command."""
START_S = 2.0
"""Seconds it may be called that; some milliseconds on an idle machine."""

UNHASHED = "  # its index gives no hash"
"""What ends an entry of the lock whose index says nothing of its file; it is asked again later."""

UNREADABLE = "unreadable: "
"""How a line on stderr starts that names a distribution whose files are broken."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed():
    """name -> what `described` says of it. What cannot be read costs its own line on stderr."""
    found = {}
    for one in metadata.distributions():
        try:
            name, about = described(one)
        except Exception as error:
            folder = Path(str(getattr(one, "_path", "a distribution")))
            print(f"{UNREADABLE}{folder.name} ({type(error).__name__})", file=sys.stderr)
        else:
            found[name] = about
    return found


def described(one):
    """A name with its version, URL it came from, what it needs, whether somebody asked for it."""
    direct = json.loads(one.read_text("direct_url.json") or "{}")
    commit = direct.get("vcs_info", {})
    url = direct.get("url", "")
    if commit:
        url = f"{commit['vcs']}+{url}@{commit['commit_id']}"
    requested = one.read_text("REQUESTED") is not None
    plain = [need for need in one.requires or () if "extra ==" not in need]
    needs = sorted({normal(re.match(r"[\w.-]+", need)[0]) for need in plain})
    about = {"version": "" + one.version, "requested": requested, "url": url, "needs": needs}
    return normal(one.metadata["Name"]), about


def pins(path):
    """name -> version of the `name==version` lines of a lock."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in found}


def uv(*arguments, cwd):
    done = subprocess.run(["uv", "pip", *arguments], capture_output=True, text=True, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def split(lock):
    """requirement -> its entry in a lock, hashes included."""
    found = re.findall(r"^[A-Za-z0-9](?:.*\\\n)*.*", lock, re.MULTILINE)
    return {re.sub(r"\s*\\$|\s+#.*", "", text.partition("\n")[0]): text for text in found}


def is_exact(requirement, entry):
    """Whether a lock's entry says which file it is: what comes from an index needs a hash."""
    return "--hash=" in entry or " @ " in requirement


def marked(requirement, entry):
    """An entry as the lock keeps it: one that lost its hash is told from one that never had any."""
    return entry if is_exact(requirement, entry) else entry + UNHASHED


def resolve(docker, target):
    """Two questions to uv: what would be installed here, and which hashes that has.

    A dry run counts what is installed, local version tags included, and `uv pip compile` does not.
    """
    # -c replaces UV_CONSTRAINT, so the base's own list is named again.
    held = [part for path in (CONSTRAINTS, docker / "keep.txt") for part in ("-c", str(path))]
    code, _, said = uv("install", "--dry-run", "-r", "packages.in", *held, cwd=docker)
    lines = re.findall(r"^ \+ (\S+==\S+|\S+ @ \S+)$", said, re.MULTILINE)
    moved = re.findall(r"^ - (.+)$", said, re.MULTILINE)
    answer = {"ok": code == 0 and not moved, "said": said, "moved": moved, "lock": ""}
    # What the lock has and what does not move need not be looked up again.
    locked = split((docker / "packages.lock").read_text())
    blocks = {line: text for line, text in locked.items() if line in lines and is_exact(line, text)}
    fresh = [line for line in lines if line not in blocks]
    if answer["ok"] and fresh:
        exact = target / "wanted.txt"
        exact.write_text("\n".join(fresh) + "\n")
        quiet = ("--no-deps", "--no-header", "--no-annotate", "--generate-hashes", "--quiet")
        code, lock, said = uv("compile", *quiet, str(exact), cwd=docker)
        answer.update(ok=code == 0, said=said if code else answer["said"])
        blocks.update({line: marked(line, text) for line, text in split(lock).items()})
        exact.unlink()
    if answer["ok"]:
        names = sorted(blocks, key=lambda line: re.split(r"[^\w.-]", line)[0].lower())
        answer["lock"] = "".join(f"{blocks[line]}\n" for line in names)
    (target / "answer.json").write_text(json.dumps(answer))


def modules(name):
    """The modules that one distribution brings, by what it recorded of its files."""
    top = {}
    for path in metadata.files(name) or ():
        first, ending = path.parts[0], path.suffix
        if len(path.parts) > 1 and path.parts[1] == "__init__.py":
            top[first] = True
        elif len(path.parts) == 1 and (ending == ".py" or ".so" in path.suffixes):
            top[first.partition(".")[0]] = True
    return sorted(module for module in top if module.isidentifier() and not module.startswith("_"))


def import_error(name):
    """Why a distribution does not import, in a process of its own; empty when it does.

    The first line is for people. Below it is all that was printed: the name of a missing library
    may stand anywhere in it. Of several modules one must import: packages ship tests and plugins
    that need more.
    """
    names = modules(name)
    errors, printed = [], []
    for module in names:
        try:
            done = subprocess.run(
                [sys.executable, "-c", f"import {module}"],
                capture_output=True,
                text=True,
                timeout=IMPORT_S,
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            errors.append(f"import {module} did not end within {IMPORT_S} s")
            continue
        if done.returncode == 0:
            return ""
        errors.append(
            f"import {module}: {last_error(done.stderr) or f'exit code {done.returncode}'}"
        )
        printed.append(done.stderr[-PRINTED:])
    return "\n".join(["; ".join(errors), *printed] if errors else [])


def last_error(stderr):
    """The line that names the last exception; its message may go on below it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [
        line for line in stderr.splitlines() if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)
    ]
    return (named or lines or [""])[-1]


def verify(docker, names):
    here = {name: one["version"] for name, one in installed().items()}
    base, lock = pins(CONSTRAINTS), pins(docker / "packages.lock")
    packages = (docker / "apt.txt").read_text().splitlines()
    system = [line.partition("#")[0].strip() for line in packages]
    return {
        "moved": {n: [v, here.get(n)] for n, v in base.items() if here.get(n) != v},
        "missing": {n: [v, here.get(n)] for n, v in lock.items() if here.get(n) != v},
        "absent": [n for n in names if normal(n) not in here],
        "broken": {n: e for n in names if normal(n) in here and (e := import_error(n))},
        "system": sorted({n for n in system if n} - debian_names()),
        "plugins": [n for n in names if normal(n) in board_plugins()],
    }


def board_plugins():
    """The distributions that have a plugin of TensorBoard."""
    points = metadata.entry_points(group="tensorboard_plugins")
    return {normal(one.dist.name) for one in points if one.dist}


def debian_names():
    """The names of what is installed, and those that it provides: Debian renames packages."""
    form = "--showformat=${db:Status-Status}\t${Package}, ${Provides}\n"
    done = subprocess.run(["dpkg-query", "--show", form], capture_output=True, text=True)
    rows = (line.partition("\t") for line in done.stdout.splitlines())
    named = ", ".join(names for state, _, names in rows if state == "installed")
    # A provided name may have a version: `libglib2.0-0 (= 2.84)`.
    return {name.split()[0].partition(":")[0] for name in named.split(",") if name.strip()}


def is_busy(kernel):
    """Whether a kernel leaves a question in its queue.

    JupyterLab only remembers the last state that it heard of: a kernel that was killed at work and
    started anew stays busy there until somebody opens its notebook.
    """
    from jupyter_client import BlockingKernelClient, find_connection_file

    client = BlockingKernelClient(connection_file=find_connection_file(f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        client.kernel_info(reply=True, timeout=ANSWER_S)
    except (TimeoutError, queue.Empty):
        return True
    finally:
        client.stop_channels()
    return False


def ask_server(path):
    """What the running JupyterLab answers, by the address and the token that it wrote down itself.

    .env may hold another token by now.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    notes = Path(jupyter_runtime_dir()).glob("jpserver-*.json")
    # Those of servers that were killed stay, and people start servers of their own in a terminal.
    found = [json.loads(note.read_text()) for note in notes]
    alive = [one for one in found if Path(f"/proc/{one['pid']}").exists()]
    if not alive:
        raise OSError("it has not started")
    server = min(alive, key=lambda one: (one["port"] != PORT, one["pid"]))
    connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=SERVER_S)
    headers = {"Authorization": f"token {server['token']}"}
    connection.request("GET", server["base_url"] + path, headers=headers)
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise OSError(f"it answers {answer.status}")
    return json.loads(answer.read())


def kernels():
    """The notebooks, or the kernels without one, in two lists: those that compute, and the others.

    A kernel that computes nothing still has the variables of its notebook.
    """
    paths = {
        one["kernel"]["id"]: one["path"] for one in ask_server("api/sessions") if one.get("kernel")
    }
    found = {one["id"]: one["execution_state"] for one in ask_server("api/kernels")}
    said = [one for one, state in found.items() if state == "busy"]
    return parted({one: paths.get(one) or f"kernel {one[:8]}" for one in found}, said)


def parted(names, said):
    """names: id -> name of each kernel. said: the ids of those that may compute, to be asked."""
    with ThreadPoolExecutor() as pool:
        at_work = {one for one, busy in zip(said, pool.map(is_busy, said), strict=True) if busy}
    return (
        [name for one, name in names.items() if one in at_work],
        [name for one, name in names.items() if one not in at_work],
    )


def left_kernels():
    """The ids of the kernels whose processes run, for where the server does not answer."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.update(re.findall(r"kernel-([\w-]+)\.json", path.read_text(errors="replace")))
    return sorted(found)


def programs():
    """What runs in terminals, and what `docker exec` started; without shells that wait."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = words_of(folder)
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parent, terminal = int(fields[1]), int(fields[4])
        by_hand = terminal or (parent == 0 and folder.name != "1")
        # The lab's own probes run isolated, this one among them.
        if by_hand and words[0] and words[1:2] != ["-I"] and not is_idle_shell(words):
            found.append(" ".join(words).strip())
    return sorted(set(found))


def words_of(folder):
    """A process's command line. One that `docker exec` is starting is waited for.

    A health check's too, which would else count as work on a busy machine.
    """
    until = time.monotonic() + START_S
    while True:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if words[:2] != STARTING or time.monotonic() > until:
            return words
        time.sleep(0.02)


def is_idle_shell(words):
    """Whether this is the command line of a shell that was given no command."""
    name = words[0].rpartition("/")[2].lstrip("-")
    flags = [word for word in words[1:] if word]
    return name in SHELLS and all(f.startswith("-") and f != "-c" for f in flags)


def added():
    """name -> version of what was installed since this container was made."""
    since = MADE.stat().st_mtime if MADE.exists() else 0
    folders = (one for place in sys.path for one in Path(place).glob("*.dist-info"))
    young = (one.name.removesuffix(".dist-info") for one in folders if one.stat().st_ctime > since)
    parts = (name.rpartition("-") for name in young)
    return {normal(name): version for name, _, version in parts}


def work():
    """unasked: why the kernels are not known."""
    busy, idle, unasked = [], [], ""
    try:
        busy, idle = kernels()
    except (OSError, ValueError, http.client.HTTPException) as error:
        unasked = str(error) or type(error).__name__
        left = left_kernels()
        busy, idle = parted({one: f"kernel {one[:8]}" for one in left}, left)
    busy = [*busy, *programs()]
    return {"busy": busy, "idle": idle, "packages": added(), "unasked": unasked}


if __name__ == "__main__":
    os.environ.setdefault("UV_LINK_MODE", "copy")
    match sys.argv[1:]:
        case ["installed"]:
            print(json.dumps(installed()))
        case ["resolve", docker, out]:
            resolve(Path(docker), Path(out))
        case ["verify", docker, out, *names]:
            answer = verify(Path(docker), names)
            (Path(out) / "answer.json").write_text(json.dumps(answer))
        case ["work"]:
            print(json.dumps(work()))
        case _:
            sys.exit(__doc__)
