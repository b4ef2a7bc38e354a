"""The folder that notebook 03 wrote, checked and ready to answer; for search.py.

It holds an encoder in ONNX, its tokenizer, articles with their vectors, and meta.json. A file with
another digest than meta.json says is refused: the vectors of one model mean nothing to another, and
nobody would notice.
"""

import hashlib
import json
import os
import threading

import numpy as np
from tokenizers import Tokenizer

FORMAT = 1
"""Of the folder, as meta.json names it."""
ENCODER, TOKENIZER, ARTICLES, VECTORS = FILES = (
    *("encoder.onnx", "tokenizer.json", "articles.jsonl", "vectors.npy"),
)
META = "meta.json"
OUTPUT = "vector"
"""The encoder's output: a unit vector for each text."""
NEAREST = 10
THREADS = 4
"""Of the encoder, at most: more are no faster for one short text."""


class Refused(Exception):
    """The folder cannot be served; one line says why."""


def read_meta(folder):
    """What meta.json says, once each file is what it says."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        told, found = dict(meta["sha256"]), meta["format"]
        int(meta["dimensions"]), int(meta["max_tokens"])
    except FileNotFoundError:
        raise Refused(f"there is no {META}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{META} cannot be read ({type(error).__name__})") from None
    if found != FORMAT:
        raise Refused(f"{META} has format {found}, and this page reads format {FORMAT}")
    for name in FILES:
        if not (folder / name).is_file():
            raise Refused(f"{name} is missing")
        if digest(folder / name) != told.get(name):
            raise Refused(f"{name} has another digest than {META} says")
    return meta


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Index:
    """The articles, and the encoder that their vectors came from."""

    def __init__(self, folder):
        meta = read_meta(folder)
        # Not splitlines(): a text may hold line breaks of Unicode.
        with (folder / ARTICLES).open(encoding="utf-8") as lines:
            self.articles = [json.loads(line) for line in lines]
        self.vectors = np.load(folder / VECTORS, allow_pickle=False)
        wanted = (len(self.articles), meta["dimensions"])
        if self.vectors.shape != wanted:
            raise Refused(f"{VECTORS} has the shape {self.vectors.shape}, and not {wanted}")
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(meta["max_tokens"])
        # From 1.29 on onnxruntime reports its use to Microsoft, unless this is set before.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(THREADS, len(os.sched_getaffinity(0)))
        options.log_severity_level = 3
        # Threads that wait for work by spinning take the cores from a training beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        whole, on = str(folder / ENCODER), ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(whole, options, providers=on)
        except Exception as error:  # onnxruntime has a dozen kinds
            raise Refused(f"{ENCODER} cannot be loaded: {str(error).splitlines()[0]}") from None
        if OUTPUT not in {one.name for one in self.session.get_outputs()}:
            raise Refused(f"{ENCODER} has no output named {OUTPUT}")
        # One text at a time has all threads; requests that come at once wait in turn.
        self.alone = threading.Lock()

    def encode(self, title, text):
        """The vector of an article: its title and text are read as one."""
        read = self.tokenizer.encode(f"{title}\n{text}")
        inputs = {
            "input_ids": np.array([read.ids], dtype=np.int64),
            "attention_mask": np.array([read.attention_mask], dtype=np.int64),
        }
        with self.alone:
            return self.session.run([OUTPUT], inputs)[0][0]

    def nearest(self, title, text):
        """The articles that are most like this one, with their cosine; the best first."""
        scores = self.vectors @ self.encode(title, text)
        best = np.argsort(-scores, kind="stable")[:NEAREST]
        return [{**self.articles[i], "score": float(scores[i])} for i in best]
