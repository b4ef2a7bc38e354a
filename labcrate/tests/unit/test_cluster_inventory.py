"""cluster.toml: what it may say, and what is wrong with one that says something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from clone import ROOT

from labcrate.clone.place import Clone
from labcrate.cluster.inventory import EXAMPLE, Node, parse_inventory, read_inventory
from labcrate.errors import Code, LabError

ONE = '[hosts.one]\ncontext = "default"\naddress = "10.0.0.1"\ninterface = "eth0"\n'
TWO = '[hosts.two]\ncontext = "two"\naddress = "10.0.0.2"\ninterface = "eth0"\n'


def refused(text: str) -> LabError:
    with pytest.raises(LabError) as caught:
        parse_inventory(text)
    assert caught.value.code == Code.CLUSTER
    return caught.value


def test_the_example_is_right_and_the_first_host_is_the_head() -> None:
    head, other = parse_inventory(EXAMPLE)
    assert (head.name, head.context, head.gpu) == ("one", "default", "auto")
    assert head.folder == "/home/me/my-lab"
    assert other == Node(name="two", context="two", address="192.168.1.11", interface="eno1")


def test_the_documents_example_is_the_codes() -> None:
    page = (ROOT / "labcrate" / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert f"```toml\n{EXAMPLE}```" in page


def test_the_order_of_the_file_decides_not_the_names() -> None:
    assert [node.name for node in parse_inventory(TWO + ONE)] == ["two", "one"]


@pytest.mark.parametrize(
    ("text", "told", "fix"),
    [
        ("", "names no host", "[hosts.NAME]"),
        ("hosts = 3", "names no host", "[hosts.NAME]"),
        ("hosts = {one = 3}", "hosts.one is no part of its own", "write [hosts.one]"),
        (ONE + "[nodes.two]\n", "unknown part 'nodes'", "[hosts.NAME]"),
        (ONE + ONE, "cannot be read: Cannot declare ('hosts', 'one') twice", "correct it"),
        (ONE + 'gpu = "on"\ngpu = "off"\n', "cannot be read: ", "correct it"),
        (ONE + "x = \n", "cannot be read: ", "correct it"),
        (ONE + 'gpus = "on"\n', "unknown key 'gpus'", "did you mean gpu?"),
        (ONE + "zone = 1\n", "unknown key 'zone'", "known are: context, address, interface, gpu"),
        (ONE.replace("context", "#"), "host one has no context", 'add context = "..."'),
        (ONE.replace('"eth0"', '""'), "host one has no interface", 'add interface = "..."'),
        (ONE.replace('"eth0"', "0"), "interface = 0", "in quotes"),
        (ONE + "gpu = true\n", "gpu = True", "in quotes"),
        (ONE + 'gpu = "yes"\n', "gpu = 'yes'", "auto, on, off"),
        (ONE.replace("hosts.one", "hosts.One"), "'One' cannot be the name", "small letters"),
        (ONE.replace("default", "--help"), "context = '--help'", "docker context ls"),
        (ONE.replace("10.0.0.1", "127.0.0.1"), "address = '127.0.0.1'", "not the loopback's"),
        (ONE.replace("10.0.0.1", "0.0.0.0"), "address = '0.0.0.0'", "not the loopback's"),
        (ONE.replace("10.0.0.1", "one.local"), "address = 'one.local'", "IPv4"),
        (ONE.replace("10.0.0.1", "fd00::1"), "address = 'fd00::1'", "IPv4"),
        (ONE.replace("eth0", "eth0; rm"), "interface = 'eth0; rm'", "ip -4 address"),
        (ONE + 'folder = "lab"\n', "folder = 'lab'", "full path"),
        (ONE + 'folder = "/a/../etc"\n', "folder = '/a/../etc'", "full path"),
        (ONE + 'folder = "/a:b"\n', "folder = '/a:b'", "full path"),
        (ONE + TWO.replace('"two"', '"default"'), "one and two have the same context", "its own"),
        (ONE + TWO.replace("0.2", "0.1"), "one and two have the same address", "its own"),
    ],
)
def test_what_is_wrong_is_said_with_its_fix(text: str, told: str, fix: str) -> None:
    error = refused(text)
    assert told in error.problem
    assert fix in error.fix


def test_all_problems_in_one_go() -> None:
    error = refused(ONE.replace("10.0.0.1", "x") + 'gpu = "yes"\n' + TWO.replace("context", "cont"))
    assert "4 problems with cluster.toml" in error.problem
    assert error.problem.count("fix: ") == 4


def test_without_the_file_the_fix_is_what_to_write(clone: Clone) -> None:
    with pytest.raises(LabError) as caught:
        read_inventory(clone)
    assert caught.value.code == Code.CLUSTER
    assert str(clone.root / "cluster.toml") in caught.value.fix
    assert EXAMPLE in caught.value.fix


def test_a_file_that_is_no_text(clone: Clone) -> None:
    path = Path(clone.root, "cluster.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="it is not UTF-8"):
        read_inventory(clone)
    path.write_text(EXAMPLE)
    assert len(read_inventory(clone)) == 2
