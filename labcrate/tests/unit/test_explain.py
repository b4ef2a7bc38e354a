"""The resolver's words -> plain words. The texts are uv 0.13.9's own, recorded in the image."""

from __future__ import annotations

import pytest
from package_lab import GOOD

from labcrate.errors import Code, LabError
from labcrate.packages.explain import check_verified, resolution_failure, stale_lock_failure
from labcrate.packages.locks import Pin
from labcrate.packages.names import LIBRARIES, SUCCESSORS, TOGETHER, WITHOUT_FILE, nearest_names
from labcrate.packages.requested import debian_names

NO = "Using Python 3.13.5 environment at: /opt/lab\nerror: No solution found when resolving "
NO += "dependencies\n  cause: "
BASE = {
    name: Pin(name=name, where=v, text="")
    for name, v in {"torch": "2.14.0", "numpy": "2.5.5"}.items()
}
KEPT = {"tokenizers": Pin(name="tokenizers", where="0.23.3", text="")}


@pytest.mark.parametrize(
    ("said", "code", "problem", "fix"),
    [
        (
            NO + "Because matplotlib was not found in the package registry and you require "
            "matplotlib, we can conclude that your requirements are unsatisfiable.\n\nhint: An "
            "index URL (https://index.example/simple) could not be queried due to a lack of valid "
            "authentication credentials (401 Unauthorized)",
            Code.INDEX_LOGIN,
            "https://index.example/simple wants a login",
            "invoke setup",
        ),
        (
            NO + "Because matplotlib was not found in the package registry and you require "
            "matplotlib, we can conclude that your requirements are unsatisfiable.\n\nhint: An "
            "index (https://index.example/simple) returned a 403 Forbidden error. Check that the "
            "index URL is correct and the credentials are valid.",
            Code.INDEX_LOGIN,
            "https://index.example/simple wants a login, or refuses the one that it got",
            "it has no right to this package",
        ),
        (
            NO + "Because tranformers was not found in the package registry and you require "
            "tranformers, we can conclude that your requirements are unsatisfiable.",
            Code.PACKAGE_UNKNOWN,
            "no index has a package named tranformers",
            "did you mean transformers?",
        ),
        (
            NO + "Because there is no version of einops==99.0 and you require einops==99.0, we "
            "can conclude that your requirements are unsatisfiable.",
            Code.PACKAGE_UNKNOWN,
            "no index has einops==99.0",
            "einops",
        ),
        (
            NO + "Because xformers==0.0.20 depends on torch==2.0.1 and torch==2.14.0, we can "
            "conclude that xformers==0.0.20 cannot be used.\n         And because you require "
            "xformers==0.0.20, we can conclude that your requirements are unsatisfiable.",
            Code.PACKAGE_CONFLICT,
            "ASKED does not go with torch 2.14.0, which the base holds",
            "invoke lock --all",
        ),
        (
            NO + "Because you require numpy<2 and numpy==2.5.5, we can conclude that your "
            "requirements are unsatisfiable.",
            Code.PACKAGE_CONFLICT,
            "numpy 2.5.5, which the base holds",
            "another version",
        ),
        (
            NO + "Because transformers==4.0.0 depends on tokenizers==0.9.4 and "
            "tokenizers==0.23.3, we can conclude that transformers==4.0.0 cannot be used.",
            Code.PACKAGE_CONFLICT,
            "tokenizers 0.23.3, which you added before",
            "--upgrade",
        ),
        (
            NO + "Because a==1 depends on c>2 and b==1 depends on c<1, we can conclude that a==1 "
            "and b==1 are incompatible.",
            Code.PACKAGE_CONFLICT,
            "no set of versions",
            "another version",
        ),
        (
            NO + "Because only einops==0.6.0 is available and you require einops>=0.8, we can "
            "conclude that your requirements are unsatisfiable.\n\nhint: `einops` was found on "
            "http://10.0.0.1/simple, but not at the requested version (einops>=0.8). A compatible "
            "version may be available on a subsequent index (e.g., https://public.example/simple). "
            "By default, uv will only consider versions that are published on the first index",
            Code.PACKAGE_UNKNOWN,
            "http://10.0.0.1/simple has einops, and not as einops>=0.8; it hides the versions of "
            "https://public.example/simple",
            "take http://10.0.0.1/simple out of pip's settings",
        ),
        (
            NO + "Because cut==1.0 has an invalid package format and only cut==1.0 is available, "
            "all versions of cut cannot be used.",
            Code.NETWORK,
            "the package index broke off, or sent a broken file: cut==1.0",
            "the same command again",
        ),
        (
            "error: Failed to download `requests @ https://127.0.0.1:1/r-1-py3-none-any.whl`\n"
            "  cause: Request failed after 3 retries in 7.4s\n  cause: tcp connect error",
            Code.NETWORK,
            "the package index cannot be reached",
            "check the network",
        ),
    ],
)
def test_resolver_answers(said: str, code: Code, problem: str, fix: str) -> None:
    error = resolution_failure("ASKED", said, BASE, KEPT)
    assert (error.code, problem in error.problem, fix in error.fix) == (code, True, True), error


def test_a_strange_name_gets_no_wrong_hint() -> None:
    assert nearest_names("zzqqxx", []) == []
    assert "scikit-learn" in nearest_names("scikit-lern", [])
    assert "my-own" in nearest_names("my-onw", ["my-own"])


def test_a_good_image_passes(capsys: pytest.CaptureFixture[str]) -> None:
    check_verified(GOOD)
    assert capsys.readouterr().out == ""


def test_a_plugin_of_the_board_is_reported_with_the_form_that_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_verified({**GOOD, "plugins": ["torch-tb-profiler"]})
    told = capsys.readouterr().out
    assert "torch-tb-profiler has a plugin for TensorBoard" in told
    assert "%tensorboard --logdir /lab/runs" in told


@pytest.mark.parametrize(
    ("seen", "code", "told", "fix"),
    [
        (
            {"moved": {"torch": ["2.14.0", "2.15.0"]}},
            Code.PACKAGE_CONFLICT,
            "torch 2.14.0 -> 2.15.0",
            "",
        ),
        ({"missing": {"einops": ["0.8", None]}}, Code.BUILD, "einops 0.8 -> gone", ""),
        ({"absent": ["ghost"]}, Code.PACKAGE_BROKEN, "ghost", ""),
        ({"system": ["ffmpeg"]}, Code.PACKAGE_BROKEN, "ffmpeg", ""),
        (
            {"broken": {"opencv-python": "import cv2: ImportError: libGL.so.1: cannot open"}},
            Code.PACKAGE_BROKEN,
            "libGL.so.1",
            "--system libgl1 libglib2.0-0 up, then the same command again; or take the build "
            "without windows: invoke add-package opencv-python-headless",
        ),
        (
            {"broken": {"x": "import x: ImportError: libnobody.so.7: cannot open"}},
            Code.PACKAGE_BROKEN,
            "libnobody.so.7",
            "apt-file search libnobody.so.7",
        ),
        (
            {"broken": {"opencv-python-headless": "import cv2: libGL.so.1: cannot open"}},
            Code.PACKAGE_BROKEN,
            "libGL.so.1",
            "without windows: invoke add-package opencv-python-headless",
        ),
        ({"broken": {"x": "import x: Boom"}}, Code.PACKAGE_BROKEN, "Boom", "another version"),
    ],
)
def test_a_bad_image_is_refused(seen: dict[str, object], code: Code, told: str, fix: str) -> None:
    with pytest.raises(LabError) as caught:
        check_verified({**GOOD, **seen})
    assert (caught.value.code, told in caught.value.problem) == (code, True), caught.value
    assert fix in caught.value.fix


CAIRO = """\
import cairosvg: OSError: no library called "cairo-2" was found
Traceback (most recent call last):
OSError: no library called "cairo-2" was found
no library called "cairo" was found
cannot load library 'libcairo.so.2': libcairo.so.2: cannot open shared object file: No such file.
cannot load library 'libcairo.2.dylib': libcairo.2.dylib: cannot open shared object file
cannot load library 'libcairo-2.dll': libcairo-2.dll: cannot open shared object file
"""
GOBJECT = """\
import weasyprint: OSError: cannot load library 'libgobject-2.0-0': libgobject-2.0-0: cannot open
        'libgobject-2.0.so.0', 'libgobject-2.0.0.dylib', 'libgobject-2.0-0.dll')
"""


@pytest.mark.parametrize(
    ("name", "error", "packages"),
    [
        ("cairosvg", CAIRO, "libcairo2"),
        ("xhtml2pdf", CAIRO, "libcairo2"),
        ("sounddevice", "OSError: PortAudio library not found", "libportaudio2"),
        ("python-magic", "ImportError: failed to find libmagic.  Check", "libmagic1"),
        ("weasyprint", GOBJECT, "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"),
        ("x", GOBJECT, "libglib2.0-0"),
        ("pyzbar", "ImportError: Unable to find zbar shared library", "libzbar0"),
        ("pyenchant", "The 'enchant' C library was not found and maybe", "libenchant-2-2"),
        ("opuslib", "Exception: Could not find Opus library. Make", "libopus0"),
        ("psycopg", "no pq wrapper available.\n- libpq library not found", "libpq5"),
        ("wand", "ImportError: MagickWand shared library not found.", "libmagickwand-dev"),
        ("open3d", "ImportError: libEGL.so.1: cannot open shared object file", "libegl1"),
        ("pyvips", "a: b\nOSError: cannot load library 'libvips.so.42': lib", "libvips42"),
        ("turtle", "ModuleNotFoundError: No module named '_tkinter'", "python3-tk"),
        ("x", "a: libown.so.1 failed\nlibsndfile.so.1: cannot open", "libsndfile1"),
    ],
)
def test_a_missing_library_has_its_debian_name(name: str, error: str, packages: str) -> None:
    with pytest.raises(LabError) as caught:
        check_verified({**GOOD, "broken": {name: error}})
    assert caught.value.fix.startswith(f"invoke add-package --system {packages} up, then")
    assert "\n" not in caught.value.problem


def test_the_debian_names_of_hints_exist_and_are_not_old_ones() -> None:
    hinted = " ".join((*LIBRARIES.values(), *WITHOUT_FILE.values(), *TOGETHER.values())).split()
    assert debian_names(hinted)
    assert not set(hinted) & set(SUCCESSORS)


def test_a_driver_that_only_a_gpu_has_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    error = "import x: ImportError: libcuda.so.1: cannot open shared object file"
    check_verified({**GOOD, "broken": {"x": error}})
    assert "x needs the GPU's driver" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "fix"),
    [
        ("audioop", "add-package 'x audioop-lts'"),
        ("pyaudioop", "add-package 'x audioop-lts'"),
        ("cv2", "add-package 'x opencv-python-headless'"),
        ("yaml", "add-package 'x pyyaml'"),
        ("PIL.Image", "add-package 'x pillow'"),
        ("sklearn.svm", "add-package 'x scikit-learn'"),
        ("skimage", "add-package 'x scikit-image'"),
        ("bs4", "add-package 'x beautifulsoup4'"),
        ("pkg_resources", "ask for a newer version of x"),
        ("nobody_knows", "which project provides it"),
    ],
)
def test_a_missing_module_is_never_called_a_package(module: str, fix: str) -> None:
    """A package that has the module's name may be anybody's."""
    error = f"import x: ModuleNotFoundError: No module named '{module}'"
    with pytest.raises(LabError) as caught:
        check_verified({**GOOD, "broken": {"x": error}})
    assert caught.value.code is Code.PACKAGE_BROKEN
    assert module in caught.value.problem
    assert fix in caught.value.fix
    assert f"'x {module.partition('.')[0]}'" not in caught.value.fix


def test_stale_locks_are_listed() -> None:
    error = stale_lock_failure(["one", "two"])
    assert error.problem.splitlines()[1:] == ["    - one", "    - two"]
    assert error.code is Code.LOCK_STALE
