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
    "libGLU.so.1": "libglu1-mesa",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libXcursor.so.1": "libxcursor1",
    "libXft.so.2": "libxft2",
    "libXi.so.6": "libxi6",
    "libXinerama.so.1": "libxinerama1",
    "libXrandr.so.2": "libxrandr2",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libasound.so.2": "libasound2",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libmagic.so.1": "libmagic1",
    "libnss3.so": "libnss3",
    "libodbc.so.2": "unixodbc",
    "libopenblas.so.0": "libopenblas0",
    "libopenslide.so.0": "libopenslide0",
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libpq.so.5": "libpq5",
    "libtbb.so.12": "libtbb12",
    "libvips.so.42": "libvips42",
    "libxml2.so.2": "libxml2",
    "libatomic.so.1": "libatomic1",
    "libgfortran.so.5": "libgfortran5",
    "libnuma.so.1": "libnuma1",
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
"""Shared libraries that wheels expect of the system, and Debian's package for each. Where Debian
13 has another name (libglib2.0-0t64), that package provides this one, too."""

WITHOUT_FILE = {
    r"PortAudio library not found": "libportaudio2",
    r"failed to find libmagic": "libmagic1",
    r"no library called .(lib)?cairo": "libcairo2",
    r"library 'libgobject-2\.0": "libglib2.0-0",
    r"library 'libpango-1\.0": "libpango-1.0-0",
    r"JACK library not found": "libjack-jackd2-0",
    r"find zbar shared library": "libzbar0",
    r"find dmtx shared library": "libdmtx0b",
    r"'enchant' C library was not found": "libenchant-2-2",
    r"not find Opus library": "libopus0",
    r"libpq library not found": "libpq5",
    r"MagickWand shared library not found": "libmagickwand-dev",
    r'Library "GL" not found': "libgl1",
    r'Library "GLU" not found': "libglu1-mesa",
    r"No module named '_?tkinter'": "python3-tk",
}
"""What packages print where a library is missing and they do not name its file, as patterns."""

TOGETHER = {
    "opencv": "libgl1 libglib2.0-0",
    "weasyprint": "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
}
"""Projects, by the beginning of the name, that miss several libraries and name one at a time."""

SUCCESSORS = {
    "libegl1-mesa": "libegl1",
    "libgdk-pixbuf2.0-0": "libgdk-pixbuf-2.0-0",
    "libgl1-mesa-glx": "libgl1",
    "libgles2-mesa": "libgles2",
    "libmysqlclient-dev": "default-libmysqlclient-dev",
    "mysql-client": "default-mysql-client",
    "netcat": "netcat-openbsd",
    "python-dev": "python3-dev",
}
"""Names of many recipes that Debian dropped, and what it has instead, in every release since."""

DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid)\.so")
"""Libraries that only a GPU's driver brings: on a CPU their absence is no fault of the package."""

CLOSE = 0.75
"""Likeness, from 0 to 1, from which on a name is proposed: one or two letters of a word differ."""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three popular or known names that a name may have been meant for, the nearest first."""
    choices = sorted({*POPULAR.split(), *known} - {name})
    return difflib.get_close_matches(name, choices, n=3, cutoff=CLOSE)
