"""Draw labcrate/docs/bench-packages.json; run inside the lab, which has matplotlib.

In labcrate/, this prints a PNG:
docker compose exec -T jupyter python - "$(cat docs/bench-packages.json)" < tests/bench/plot.py
"""

import io
import json
import statistics
import sys

import matplotlib as mpl  # type: ignore[import-not-found]

mpl.use("agg")
from matplotlib import pyplot as plt

data = json.loads(sys.argv[1])
figure, (bars, growth) = plt.subplots(
    1, 2, figsize=(10, 3.2), width_ratios=(2, 1), layout="constrained"
)
BARS = (
    ("pip_s", "one pip line", "#b8b8b8"),
    ("total_s", "add-package: image rebuilt", "#3b6ea8"),
    ("import_s", "add-package: importable in a running kernel", "#e08a3c"),
)
HEIGHT = 0.27
for number, (key, label, colour) in enumerate(BARS):
    medians = [statistics.median(run[key] for run in case["runs"]) for case in data["cases"]]
    places = [place + number * HEIGHT for place in range(len(medians))]
    drawn = bars.barh(places, medians, HEIGHT * 0.92, label=label, color=colour)
    bars.bar_label(drawn, fmt="%.1f s", padding=3, fontsize=8)
names = [f"{case['package']}\n{case['what']}" for case in data["cases"]]
bars.set_yticks([place + HEIGHT for place in range(len(names))], names, fontsize=8)
bars.invert_yaxis()
bars.margins(x=0.1)
bars.set_xlabel("seconds (median)")
bars.legend(fontsize=7, loc="lower right")
counts = [row["packages"] for row in data["growth"]]
for key, label, colour in BARS[1:]:
    growth.plot(counts, [row[key] for row in data["growth"]], "o-", label=label, color=colour)
growth.set_xlabel("packages in the list before")
growth.set_ylabel("seconds for one more")
growth.set_ylim(0)
for axes in (bars, growth):
    axes.spines[["top", "right"]].set_visible(False)
picture = io.BytesIO()
figure.savefig(picture, format="png", dpi=130)
sys.stdout.buffer.write(picture.getvalue())
