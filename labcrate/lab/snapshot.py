"""The lab as it is now: one reading of Compose and the engine, made once a task inside the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from labcrate.clone.ports import port_is_free, process_on
from labcrate.clone.rules import Problem
from labcrate.clone.settings import Settings
from labcrate.engine.endpoint import endpoint, machine_of
from labcrate.engine.engine import find_engine, refusal, require_engine
from labcrate.errors import Code, LabError
from labcrate.lab.compose import JUPYTER, SEARCH, Lab, Model, Port, resolve_model
from labcrate.lab.containers import (
    Container,
    Unanswered,
    holder_of,
    inspect_containers,
    list_containers,
    of_project,
)
from labcrate.lab.images import Image, read_images, stale_services

VARIABLES = {JUPYTER: "JUPYTER_PORT", "tensorboard": "TENSORBOARD_PORT", SEARCH: "SEARCH_PORT"}
"""The variable of .env that moves each of the template's own ports."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What Compose and the engine said, at one moment.

    lab: without overlays, with the build of PyTorch that the image has. containers and images: of
    this lab, by service. everyone: all containers of the engine, without details. machine: the
    other machine that the engine and so the ports are on; "": this one.
    """

    lab: Lab
    model: Model
    containers: Mapping[str, Container]
    images: Mapping[str, Image]
    everyone: tuple[Container, ...] = ()
    machine: str = ""

    @property
    def settings(self) -> Settings:
        return self.lab.settings

    @property
    def jupyter(self) -> Container | None:
        """The running JupyterLab; None where it does not run."""
        found = self.containers.get(JUPYTER)
        return found if found and found.is_running else None

    @property
    def backend(self) -> str:
        """The build of PyTorch in JupyterLab's image; "": there is no image, or no label on it."""
        found = self.images.get(JUPYTER)
        return found.backend if found else ""

    @property
    def is_healthy(self) -> bool:
        """Whether every service runs, and answers where it can be asked."""
        return all(
            name in self.containers
            and self.containers[name].is_running
            and (not service.has_health or self.containers[name].health == "healthy")
            for name, service in self.model.services.items()
        )

    @property
    def base_url(self) -> str:
        """Where on its port JupyterLab is, by its own settings; `/` where it does not say so."""
        return self.jupyter.check.base_url if self.jupyter else "/"

    def links(self, token: str = "") -> dict[str, str]:
        """Where each service with a port answers. token: JupyterLab's, for its link."""
        services = self.model.services.items()
        found = {name: service.link(self.machine) for name, service in services if service.ports}
        if JUPYTER in found:
            login = f"lab?token={token}" if token else ""
            found[JUPYTER] = f"{found[JUPYTER].removesuffix('/')}{self.base_url}{login}"
        return found

    def stale(self, lab: Lab | None = None) -> list[str]:
        """The services whose image is missing or was built from something else.

        lab: with what was decided since, e.g. another build of PyTorch.
        """
        return stale_services(lab or self.lab, self.model, self.images)


def take_snapshot(settings: Settings, profiles: tuple[str, ...] = ()) -> Snapshot:
    """Read the lab: the model and the containers at the same time, then what they name.

    The search page is in it where it has a container, or with its profile.
    """
    bare = Lab(settings=settings, profiles=profiles)
    with ThreadPoolExecutor() as pool:
        listing = pool.submit(list_containers)
        try:
            model = resolve_model(bare)
        except LabError:
            # Without docker or Compose, the configuration is not what is wrong.
            require_engine(find_engine())
            raise
        try:
            everyone = listing.result()
            listed = of_project(everyone, settings.project)
            if SEARCH not in model.services and profiles_of(listed):
                bare = replace(bare, profiles=profiles_of(listed))
                model = resolve_model(bare)
            images = pool.submit(read_images, model)
            own = inspect_containers(listed)
            found = images.result()
        except Unanswered as error:
            raise refusal(str(error)) from None
    setting = settings.torch_backend
    built = found[JUPYTER].backend if JUPYTER in found else ""
    backend = (built or "pypi") if setting == "auto" else setting
    return Snapshot(
        lab=replace(bare, torch_backend=backend),
        model=model,
        containers={one.service: one for one in own},
        images=found,
        everyone=everyone,
        machine=machine_of(endpoint()),
    )


def profiles_of(own: Sequence[Container]) -> tuple[str, ...]:
    """The profiles that a lab's containers are of: what was started is part of the lab."""
    return (SEARCH,) if any(one.service == SEARCH for one in own) else ()


def taken_ports(snapshot: Snapshot) -> Iterator[Problem]:
    """The lab's ports that something else holds, with who it is."""
    for name, port, who in held_ports(snapshot):
        yield taken_port(name, port.number, who)


def held_ports(snapshot: Snapshot) -> Iterator[tuple[str, Port, str]]:
    """(service, port, who has it) of each of the lab's ports that something else holds."""
    own = of_project(snapshot.everyone, snapshot.settings.project)
    for name, service in snapshot.model.services.items():
        for port in service.ports:
            holder = holder_of(port.number, snapshot.everyone)
            # One that ends again and again has its ports only now and then.
            restarting = any(one.service == name and one.state == "restarting" for one in own)
            # Another service of this lab may have it, where one of them has a default.
            theirs = holder is not None and holder in own and holder.service == name
            if theirs or (restarting and not holder):
                continue
            # On another machine, only its containers can be known.
            free = snapshot.machine or port_is_free(port.address or "0.0.0.0", port.number)  # noqa: S104
            if holder or not free:
                who = f"the container {holder.name}" if holder else process_on(port.number)
                yield name, port, who


def taken_port(service: str, port: int, who: str) -> Problem:
    variable = VARIABLES.get(service)
    what = f"{variable}={port}" if variable else f"port {port} of the service {service}"
    where = f"set {variable} in .env" if variable else f"set the port of {service} in compose/"
    return Problem(
        text=f"{what} is taken by {who}",
        fix=f"{where} to another port, or stop it",
        code=Code.PORT_TAKEN,
    )
