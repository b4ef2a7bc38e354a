"""Settings and overlays -> what Compose is asked, and Compose's own resolved model of the lab."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labcrate import environment, process
from labcrate.clone.place import Clone
from labcrate.clone.settings import Settings
from labcrate.errors import Code, LabError
from labcrate.process import NO_VARIABLES

JUPYTER = "jupyter"
"""The service that people work in; `run`, add-package and the GPU are about this one."""

SEARCH = "search"
"""The service of the search page, and the profile of Compose that it is in: off until `serve`."""

GPU_FILE = re.compile(r"(\./)?compose/gpu-[a-z]+\.yaml|(\./)?\.labcrate/gpu\.yaml")
"""The overlays that the tasks choose from."""

SHARED_FILE = re.compile(r"(\./)?compose/shared-models\.yaml")
"""The overlay for the folder that SHARED_MODELS names."""

REDIRECTING = ("COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PATH_SEPARATOR")
"""Variables that make Compose read another .env, or COMPOSE_FILE in another way."""

WAIT_S = 180
"""Seconds until all services must be healthy: 2 s are usual, a cold disk takes tens."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One lab as Compose is asked for it: its settings and what the tasks decided.

    profiles: services that are off by default and are meant, too.
    """

    settings: Settings
    overlays: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    torch_backend: str = "pypi"

    @property
    def clone(self) -> Clone:
        return self.settings.clone

    @property
    def project(self) -> str:
        return self.settings.project

    @property
    def build_env(self) -> dict[str, str]:
        """What the tasks decide for a build, beside .env; nothing else needs it."""
        # PyPI's build goes by the name of .env: `docker compose build`, typed by hand, knows that
        # one alone, and with another argument it would install PyTorch a second time.
        same = (self.settings.torch_backend, self.torch_backend) == ("auto", "pypi")
        return {"TORCH_BACKEND": "auto" if same else self.torch_backend}

    def compose(self, *arguments: str, extra_files: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The argument list of a compose command; plain where the CPU lab alone will do."""
        # COMPOSE_FILE may name files of the owner's, or by hand what the tasks decide.
        chosen = (GPU_FILE, SHARED_FILE)
        named = self.settings.compose_files
        own = [name for name in named if not any(one.fullmatch(name) for one in chosen)]
        shared = ("compose/shared-models.yaml",) if self.settings.shared_models else ()
        names = (*own, *shared, *self.overlays, *extra_files)
        files = [part for name in names for part in ("-f", name)]
        # Plain, Compose reads COMPOSE_FILE of .env itself. With -f it looks for .env beside the
        # first file.
        plain = self.settings.compose_file_set and names == self.settings.compose_files
        base = () if plain and not self._redirected() else ("--env-file", ".env", *files)
        return ("docker", "compose", *self._named(), *base, *self._profiled(), *arguments)

    def _profiled(self) -> tuple[str, ...]:
        """The flags for profiles. Compose then ignores COMPOSE_PROFILES, so its names go along."""
        own = environment.variable("COMPOSE_PROFILES").split(",") if self.profiles else ()
        names = dict.fromkeys((*self.profiles, *filter(None, own)))
        return tuple(part for name in names for part in ("--profile", name))

    def _redirected(self) -> bool:
        """Whether the environment makes plain Compose read other files than the lab's."""
        environ = environment.variables()
        own = ":".join(self.settings.compose_files)
        return environ.get("COMPOSE_FILE", own) != own or any(n in environ for n in REDIRECTING)

    def _named(self) -> tuple[str, ...]:
        """The lab's name, where the environment has another one for Compose."""
        found = environment.variables().get("COMPOSE_PROJECT_NAME", self.project)
        return () if found == self.project else ("--project-name", self.project)

    def ask(self, *arguments: str, timeout_s: float = 30.0) -> process.Result:
        return process.ask(self.compose(*arguments), timeout_s=timeout_s, cwd=self.clone.root)

    def change(
        self, *arguments: str, timeout_s: float = 300.0, stdin: str | None = None
    ) -> process.Result:
        """Change something in the running lab, in the task's own words."""
        return process.change(
            self.compose(*arguments),
            timeout_s=timeout_s,
            stdin=stdin,
            cwd=self.clone.root,
            quiet=True,
        )

    def stream(self, *arguments: str) -> process.Result:
        return process.stream(self.compose(*arguments), cwd=self.clone.root)

    def attach(self, *arguments: str) -> int:
        return process.attach(self.compose(*arguments), cwd=self.clone.root)

    def image(self, service: str = JUPYTER) -> str:
        """The name of an image that the template's own services are built into."""
        return f"{self.project}/{service}"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port: on this address and number of the engine's machine."""

    address: str
    number: int

    def link(self, machine: str = "") -> str:
        """Its URL. machine: the engine's, where that is another one than this."""
        everywhere = self.address in ("", "0.0.0.0", "::")  # noqa: S104
        host = (machine or "127.0.0.1") if everywhere else self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{self.number}/"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of the model. build: its build section, empty where it takes a ready image."""

    name: str
    image: str
    ports: tuple[Port, ...]
    has_health: bool
    build: Mapping[str, Any]

    def link(self, machine: str = "") -> str:
        """The URL of its first port; "": it has none."""
        return self.ports[0].link(machine) if self.ports else ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Compose's resolved model: the template's services and the owner's, alike."""

    project: str
    raw: Mapping[str, Any]
    services: Mapping[str, Service]

    @property
    def built(self) -> tuple[Service, ...]:
        """The services whose images are built here."""
        return tuple(service for service in self.services.values() if service.build)

    @property
    def volumes(self) -> tuple[str, ...]:
        """The engine's names of the model's volumes."""
        return tuple(one["name"] for one in (self.raw.get("volumes") or {}).values())

    def require_service(self, name: str) -> str:
        """The name, if it is a service of the lab; an error with those that are."""
        if name in self.services:
            return name
        raise LabError(
            f"there is no service {name}",
            fix=f"use one of: {', '.join(self.services)}",
            code=Code.SETTINGS,
        )


def resolve_model(lab: Lab, extra_env: Mapping[str, str] = NO_VARIABLES) -> Model:
    """Ask Compose what it would run, whatever .env, overlays and the owner's files say."""
    command = lab.compose("config", "--format", "json")
    answer = process.ask(command, extra_env=extra_env, cwd=lab.clone.root)
    if not answer.ok:
        raise LabError(
            f"Compose refuses the configuration: {answer.stderr.strip()}",
            fix="fix the value or the file it names (.env, compose/), then run the command again",
            code=Code.COMPOSE if answer.returncode == process.NOT_FOUND else Code.SETTINGS,
        )
    return parse_model(json.loads(answer.stdout))


def parse_model(raw: Mapping[str, Any]) -> Model:
    services = {name: _service(raw, name) for name in raw.get("services") or {}}
    # The service that people work in comes first in every list.
    names = sorted(services, key=lambda name: (name != JUPYTER, name != "tensorboard", name))
    return Model(
        project=str(raw.get("name", "")),
        raw=raw,
        services={name: services[name] for name in names},
    )


def _service(raw: Mapping[str, Any], name: str) -> Service:
    section = raw["services"][name]
    published = [port for port in section.get("ports") or () if port.get("published")]
    return Service(
        name=name,
        image=section.get("image") or f"{raw.get('name', '')}-{name}",
        ports=tuple(
            Port(address=port.get("host_ip", ""), number=int(str(port["published"]).split("-")[0]))
            for port in published
        ),
        has_health="healthcheck" in section and not section["healthcheck"].get("disable"),
        build=section.get("build") or {},
    )
