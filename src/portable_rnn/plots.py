"""Pictures of a run (extra ``plot``)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["learning_curve"]


def learning_curve(
    metrics: Sequence[Mapping[str, Any]], baselines: Mapping[str, float], title: str
) -> bytes:
    """Draw bits per character against steps, with baselines as level lines.

    Parameters
    ----------
    metrics : sequence of dicts
        With ``step`` and either ``training_bits`` or ``validation_bits``.
    baselines : dict of str to float
        Bits per character of each.
    title : str

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    # The object-oriented interface: no window system, and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for key, style in (
        ("training_bits", {"color": "#9bb7d4", "linewidth": 1.2, "label": "training"}),
        ("validation_bits", {"color": "#1f4e79", "marker": "o", "label": "validation"}),
    ):
        points = [(m["step"], m[key]) for m in metrics if key in m]
        if points:
            axes.plot(*zip(*points, strict=True), **style)
    for name, bits in baselines.items():
        axes.axhline(bits, color="#888888", linestyle=":", linewidth=1)
        axes.annotate(
            f"{name} {bits:.2f}",
            (1, bits),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=9,
            color="#555555",
        )
    axes.set(xlabel="step", ylabel="bits per character", title=title)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
