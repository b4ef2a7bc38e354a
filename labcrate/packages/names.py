"""Names that people and error messages use, and the packages that they mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

MODULES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "pil": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What one imports, where the package has another name; in small letters. Some of these names
exist as empty packages, so they are refused as requirements."""

IN_BASE = {"pytorch": "torch", "pytorch-cuda": "torch"}
"""Names under which people look for what the base has."""

PROVIDERS = {
    **MODULES,
    "aifc": "standard-aifc",
    "attr": "attrs",
    "audioop": "audioop-lts",
    "cgi": "legacy-cgi",
    "crypto": "pycryptodome",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "fitz": "pymupdf",
    "git": "gitpython",
    "imghdr": "standard-imghdr",
    "jwt": "pyjwt",
    "openssl": "pyopenssl",
    "pyaudioop": "audioop-lts",
    "serial": "pyserial",
    "six": "six",
    "sunau": "standard-sunau",
    "telnetlib": "standard-telnetlib",
}
"""The package that provides a module, in small letters. aifc, audioop, cgi, imghdr, sunau and
telnetlib left the standard library with Python 3.13, which the default base has."""

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
"""Names for "did you mean": an index gives near ones only with its whole list (40 MB)."""

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
"""Libraries that only a GPU's driver brings: on a CPU their absence is no fault of the package."""

CLOSE = 0.75
"""Likeness, from 0 to 1, from which on a name is proposed: one or two letters of a word differ."""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three popular or known names that a name may have been meant for, the nearest first."""
    choices = sorted({*POPULAR.split(), *known} - {name})
    return difflib.get_close_matches(name, choices, n=3, cutoff=CLOSE)
