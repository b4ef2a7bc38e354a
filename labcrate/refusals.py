"""Why a package cannot be added, in plain words, and what would help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from labcrate import stack
from labcrate.errors import Code, LabError
from labcrate.locks import Pin

POPULAR = (
    "accelerate albumentations bitsandbytes captum catboost clearml datasets deepspeed "
    "diffusers dill einops ema-pytorch evaluate faiss-cpu fairscale fastai flash-attn ftfy "
    "gensim geopandas gradio gymnasium h5py hydra-core imageio jax joblib kornia langchain "
    "lightgbm lightning lion-pytorch matplotlib mlflow monai nltk numba numpy omegaconf onnx "
    "onnxruntime open-clip-torch opencv-python opencv-python-headless optuna pandas peft "
    "pillow plotly polars protobuf pyarrow pycocotools pydantic pytorch-lightning ray rich "
    "safetensors scikit-image scikit-learn scipy seaborn segmentation-models-pytorch "
    "sentence-transformers sentencepiece shap spacy statsmodels sympy tensorboard "
    "tensorboardx tiktoken timm tokenizers torch torch-geometric torchaudio torchinfo "
    "torchmetrics torchvision tqdm transformers triton trl ultralytics umap-learn vllm wandb "
    "webdataset xformers xgboost "
)
"""Names for "did you mean": no index can be asked for near ones without its whole list (40 MB)."""

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libxcb.so.1": "libxcb1",
    "libfontconfig.so.1": "libfontconfig1",
    "libXrender.so.1": "libxrender1",
    "libsndfile.so.1": "libsndfile1",
    "libsndfile.so": "libsndfile1",
    "libgomp.so.1": "libgomp1",
    "libportaudio.so.2": "libportaudio2",
    "libjemalloc.so.2": "libjemalloc2",
    "libcairo.so.2": "libcairo2",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libtk8.6.so": "libtk8.6",
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libhdf5.so": "libhdf5-dev",
}
"""Shared libraries that wheels expect of the system, and Debian's package for each."""

DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid)\.so")
"""Libraries that only a GPU's driver brings: on a CPU their absence says nothing of the package."""


def nearest(name: str, known: Mapping[str, object]) -> list[str]:
    choices = sorted({*POPULAR.split(), *known} - {name})
    return difflib.get_close_matches(name, choices, n=3, cutoff=0.75)


def unresolved(what: str, said: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]) -> LabError:
    """What the resolver's words mean. what: the requirements asked for; said: all uv printed."""
    cause = explanation(said)
    if unknown := re.search(r"(\S+) was not found in the package registry", cause):
        return not_found(unknown[1], base, keep)
    if "No solution found" not in said:
        return stack.build_failure(said.strip())
    if broken := re.search(r"(\S+) has an invalid package format", cause):
        return LabError(
            f"the package index broke off, or sent a broken file: {broken[1]}",
            fix="check the network and the index, then run the same command again",
            code=Code.NETWORK,
            why=cause,
        )
    if version := re.search(r"there is no version of (\S+?)( and|,|$)", cause):
        return LabError(
            f"no index has {version[1]}",
            fix=f"ask for a version that exists, or for none: {bare(version[1])}",
            code=Code.PACKAGE_UNKNOWN,
            why=cause,
        )
    return conflict(what, cause, base, keep)


def explanation(said: str) -> str:
    """The resolver's reasons, as one line of text."""
    found = re.search(r"(?:cause|╰─▶)[: ]\s*(Because .*)", said, re.DOTALL)
    text = found[1] if found else said
    text = re.split(r"\n\s*\n|\n\s*hint", text)[0]
    return re.sub(r"\s+", " ", text).replace(", we can conclude that", ", so").strip()


def bare(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return found[0] if found else requirement


def not_found(name: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]) -> LabError:
    near = nearest(name, {**base, **keep})
    hint = f"did you mean {' or '.join(near)}?" if near else "check the spelling"
    return LabError(
        f"no index has a package named {name}",
        fix=f"{hint} (a private index goes into pip's settings on this host)",
        code=Code.PACKAGE_UNKNOWN,
    )


def conflict(what: str, cause: str, base: Mapping[str, Pin], keep: Mapping[str, Pin]) -> LabError:
    """Two requirements that no set of versions meets: name the one that is held, and by whom."""
    named = set(re.findall(r"([A-Za-z0-9][\w.-]*)(?:[=<>!~]=?|\[)", cause))
    by_base = sorted(named & set(base))
    by_lock = sorted(named & set(keep))
    if by_base:
        held = ", ".join(f"{name} {base[name].where}" for name in by_base)
        return LabError(
            f"{what} does not go with {held}, which the base holds and nothing may move",
            fix="ask for another version of it, one made for these; or change docker/torch.in or "
            "docker/base.in on purpose, and run: invoke lock --all",
            code=Code.PACKAGE_CONFLICT,
            why=cause,
        )
    if by_lock:
        held = ", ".join(f"{name} {keep[name].where}" for name in by_lock)
        return LabError(
            f"{what} does not go with {held}, which you added before",
            fix="the same command with --upgrade (lets what was added before move)",
            code=Code.PACKAGE_CONFLICT,
            why=cause,
        )
    return LabError(
        f"{what}: no set of versions meets all that is asked for",
        fix="ask for another version of it",
        code=Code.PACKAGE_CONFLICT,
        why=cause,
    )


def stale(problems: Sequence[str]) -> LabError:
    return LabError(
        "a lock does not match what is asked for:\n    - " + "\n    - ".join(problems),
        fix="invoke lock (what you added), or invoke lock --all (the base and the tools, too)",
        code=Code.LOCK_STALE,
    )


def check_verified(seen: Mapping[str, Any]) -> None:
    """Refuse an image that is not what it has to be. seen: the answer of inside.py verify."""
    for what, code in (("moved", Code.PACKAGE_CONFLICT), ("missing", Code.BUILD)):
        if seen[what]:
            rows = ", ".join(f"{n} {v[0]} -> {v[1] or 'gone'}" for n, v in seen[what].items())
            raise LabError(
                f"the new image is not as locked: {rows}",
                fix="run the same command again; if it stays, this is a defect of the lab's",
                code=code,
            )
    absent = [*seen["absent"], *seen["system"]]
    if absent:
        raise LabError(
            f"not in the new image: {', '.join(absent)}",
            fix="check the name",
            code=Code.PACKAGE_BROKEN,
        )
    for name, error in seen["broken"].items():
        if DRIVER.search(error):
            print(f"  {name} needs the GPU's driver to import; on a GPU the lab has it.")
        else:
            raise broken(name, error)


def broken(name: str, error: str) -> LabError:
    library = re.search(r"(lib[\w.+-]+\.so[.\d]*)", error)
    fix = "look for the message among the package's own issues, or ask for another version"
    if library:
        package = LIBRARIES.get(library[1], "")
        fix = (
            f"invoke add-package --system {package}"
            if package
            else (
                f"find the system package with {library[1]} (apt-file search {library[1]}), then: "
                "invoke add-package --system THAT"
            )
        )
        if name.startswith("opencv-"):
            headless = name if name.endswith("headless") else f"{name}-headless"
            fix += f"; or take the build without windows: invoke add-package {headless}"
    elif module := re.search(r"No module named '([\w.]+)'", error):
        fix = f"it needs {module[1]}, and does not say so: invoke add-package '{name} {module[1]}'"
    return LabError(
        f"{name} installs and does not import: {error}", fix=fix, code=Code.PACKAGE_BROKEN
    )
