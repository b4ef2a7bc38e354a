"""Draw labcrate/docs/benchmark.json as a PNG; runs in the lab's image, which has matplotlib."""

import io
import json
import sys

import matplotlib as mpl  # type: ignore[import-not-found]

mpl.use("agg")
from matplotlib import pyplot as plt

rows = [row for row in json.loads(sys.argv[1]) if not row["absolute"]]
figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1), layout="constrained")
places = range(len(rows))
drawn = axes.barh(places, [row["ratio"] for row in rows], 0.6, color="#3b6ea8")
axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
axes.plot([row["goal"] for row in rows], places, "|", color="#e08a3c", ms=16, mew=2, label="goal")
axes.axvline(1, color="#b8b8b8", lw=1)
axes.set_yticks(places, [row["name"].replace("`", "") for row in rows], fontsize=8)
axes.invert_yaxis()
axes.margins(x=0.1)
axes.set_xlabel("with the lab / by hand (1: as long, or as many bytes)")
axes.legend(fontsize=8, loc="lower right")
axes.spines[["top", "right"]].set_visible(False)
picture = io.BytesIO()
figure.savefig(picture, format="png", dpi=130)
sys.stdout.buffer.write(picture.getvalue())
