"""A folder that the search page can serve, made in a moment and without a library: an encoder in
ONNX that takes the mean of random word vectors, its tokenizer, and articles with their vectors.

ONNX is protocol buffers: each field is a key, (number << 3 | type), and a number or a run of bytes.
The numbers of the fields are from onnx.proto3 of ONNX 1.17.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

SIZE = 16
"""Numbers of a vector."""
MAX_TOKENS = 512
FLOAT, INT64 = 1, 7
"""Types of tensors in ONNX."""
WORDS = {
    "tech": "computer software phone internet chip video game music player online",
    "sport": "match goal player team coach league cup season win injury",
    "business": "market bank share profit price oil growth dollar economy firm",
}


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def field(key: int, value: int | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(key << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(key << 3 | 2) + varint(len(data)) + data


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    return b"".join(field(key, value) for key, value in fields)


def tensor(name: str, kind: int, shape: Sequence[int], data: bytes) -> bytes:
    return message(*((1, size) for size in shape), (2, kind), (8, name), (9, data))


def value_info(name: str, kind: int, shape: Iterable[str | int]) -> bytes:
    """A name with its type. shape: numbers, or names of sizes that are free."""
    sizes = b"".join(field(1, message((1 if isinstance(one, int) else 2, one))) for one in shape)
    return message((1, name), (2, message((1, message((1, kind), (2, sizes))))))


def node(kind: str, inputs: Sequence[str], output: str, **numbers: int) -> bytes:
    """numbers: its attributes, all of them integers."""
    made = [message((1, name), (3, number), (20, 2)) for name, number in numbers.items()]
    return message(
        *((1, name) for name in inputs), (2, output), (4, kind), *((5, one) for one in made)
    )


def onnx_encoder(table: Sequence[Sequence[float]], output: str = "vector") -> bytes:
    """The unit vector of the mean of the rows that a text's tokens name."""
    flat = [number for row in table for number in row]
    axis = tensor("axis", INT64, [1], struct.pack("<q", 1))
    rows = tensor("table", FLOAT, [len(table), SIZE], struct.pack(f"<{len(flat)}f", *flat))
    nodes = (
        node("Gather", ["table", "input_ids"], "words", axis=0),
        node("Cast", ["attention_mask"], "weights", to=FLOAT),
        node("Unsqueeze", ["weights", "last"], "mask"),
        node("Mul", ["words", "mask"], "masked"),
        node("ReduceSum", ["masked", "axis"], "sum", keepdims=0),
        node("ReduceL2", ["sum", "axis"], "length", keepdims=1),
        node("Div", ["sum", "length"], output),
    )
    last = tensor("last", INT64, [1], struct.pack("<q", 2))
    free = ("batch", "tokens")
    graph = message(
        *((1, one) for one in nodes),
        (2, "tiny"),
        *((5, one) for one in (rows, axis, last)),
        *((11, value_info(name, INT64, free)) for name in ("input_ids", "attention_mask")),
        (12, value_info(output, FLOAT, ("batch", SIZE))),
    )
    return message((1, 9), (8, message((1, ""), (2, 18))), (7, graph))


def tokenizer_json(words: Sequence[str]) -> str:
    """Words by their number; the first one stands for every other word."""
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {
                "type": "WordLevel",
                "vocab": {word: i for i, word in enumerate(words)},
                "unk_token": words[0],
            },
        }
    )


def npy(rows: Sequence[Sequence[float]]) -> bytes:
    """A table of 32-bit floats as numpy.save writes it."""
    shape = f"({len(rows)}, {len(rows[0])})"
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    flat = [number for row in rows for number in row]
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(head))
        + head.encode()
        + struct.pack(f"<{len(flat)}f", *flat)
    )


class TinyModel:
    """What the folder holds. articles: ten of each category, of words of that category."""

    def __init__(self) -> None:
        drawn = random.Random(0)
        words = sorted({word for text in WORDS.values() for word in text.split()})
        self.words = ["[UNK]", *words]
        self.table = [[drawn.gauss(0, 1) for _ in range(SIZE)] for _ in self.words]
        self.articles = [
            {
                "title": " ".join(drawn.sample(text.split(), 3)),
                "text": " ".join(drawn.choices(text.split(), k=40)),
                "category": category,
            }
            for category, text in WORDS.items()
            for _ in range(10)
        ]

    def vector(self, title: str, text: str) -> list[float]:
        """What the encoder gives for an article."""
        said = re.findall(r"\w+|[^\w\s]+", f"{title}\n{text}".lower())[:MAX_TOKENS]
        rows = [self.table[self.words.index(w) if w in self.words else 0] for w in said]
        total = [sum(column) for column in zip(*rows, strict=True)]
        length = math.sqrt(sum(number**2 for number in total))
        return [number / length for number in total]

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        vectors = [self.vector(one["title"], one["text"]) for one in self.articles]
        files = {
            "encoder.onnx": onnx_encoder(self.table),
            "tokenizer.json": tokenizer_json(self.words).encode(),
            "articles.jsonl": "".join(json.dumps(one) + "\n" for one in self.articles).encode(),
            "vectors.npy": npy(vectors),
        }
        for name, data in files.items():
            (folder / name).write_bytes(data)
        meta = {
            "format": 1,
            "dimensions": SIZE,
            "max_tokens": MAX_TOKENS,
            "articles": len(self.articles),
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1))
        return folder
