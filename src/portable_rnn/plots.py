"""Plots of training and of gradient flow (extra ``plot``)."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.host import float64_to_host

__all__ = ["Picture", "gradient_flow", "learning_curve"]

PREFIXES = ("training_", "validation_")  # of names of the same metric
UNITS = {"bits": "bits per character"}
COLOURS = ("#1f4e79", "#c0504d", "#4f8a3c", "#8064a2", "#d08a2e", "#3a9ca6")


class Picture(bytes):
    """The bytes of a PNG file, to be written to one; a notebook shows the picture.

    Examples
    --------
    >>> import portable_rnn.plots as plots
    >>> picture = plots.learning_curve({"loss": [2.0, 1.5]})  # then: path.write_bytes(picture)
    >>> picture
    <PNG picture of 960 x 540 pixels>
    >>> picture[1:4]
    b'PNG'
    """

    def __repr__(self) -> str:
        if self[:8] != b"\x89PNG\r\n\x1a\n" or len(self) < 24:
            return f"<Picture of {len(self)} bytes>"
        width, height = (int.from_bytes(self[i : i + 4], "big") for i in (16, 20))
        return f"<PNG picture of {width} x {height} pixels>"

    __str__ = __repr__

    def _repr_png_(self) -> bytes:
        return bytes(self)


def learning_curve(
    metrics: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    baselines: Mapping[str, float] | None = None,
    title: str = "",
) -> Picture:
    """Plot what a run measured against its steps, metric by metric.

    Each metric has axes of its own: ``loss``, ``training_loss`` and ``validation_loss`` share those
    of ``loss``.

    Parameters
    ----------
    metrics : sequence of dicts, or dict of str to sequence
        Rows with a ``step`` and numbers by name, such as the ``rows`` of
        :class:`portable_rnn.training.History`; or for each name the numbers in order, or pairs of a
        step and a number. NaN leaves a gap.
    baselines : dict of str to float, optional
        Horizontal lines in the first axes.
    title : str

    Returns
    -------
    Picture
        The bytes of a PNG file, which a notebook shows.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import portable_rnn.plots as plots
    >>> plots.learning_curve({"loss": [2.0, 1.5, 1.25], "validation_loss": [(1, 2.1), (3, 1.5)]})
    <PNG picture of 960 x 540 pixels>
    """
    curves = _curves(metrics)
    if baselines is None:
        baselines = {}
    if not isinstance(baselines, Mapping):
        raise TypeError(f"baselines: expected a dict, got {check.said(baselines)}")
    levels = {
        check.text("baselines, a name", name): check.number(f"baselines[{name!r}]", level)
        for name, level in baselines.items()
    }
    check.text("title", title)
    if len({rate for _, rate in curves.get("learning_rate", [])}) == 1 and len(curves) > 1:
        del curves["learning_rate"]  # it was the same all the time
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, points in curves.items():
        panels.setdefault(_without_prefix(name), {})[name] = points
    panels = panels or {"": {}}
    figure = _figure(8, 4.5 if len(panels) == 1 else 2.6 * len(panels))
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    _draw_levels(every[0], levels)
    for axes, (panel, of_panel) in zip(every, panels.items(), strict=True):
        _draw_curves(axes, panel, of_panel)
    every[0].set_title(title, parse_math=False)
    every[-1].set_xlabel("step")
    return _png(figure)


def _draw_curves(
    axes: Any, panel: str, curves: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Draw the curves of one metric: those of training in a light colour, others with markers."""
    several = len(curves) > 1
    for name, points in curves.items():
        style: dict[str, Any] = {"color": "#1f4e79", "marker": "o", "label": "validation"}
        if not name.startswith("validation_"):
            style = {"color": "#9bb7d4" if several else "#1f4e79", "linewidth": 1.2}
            style["label"] = "training"
        if len(points) == 1:  # no line
            style["marker"] = "o"
        if points:
            axes.plot(*zip(*points, strict=True), **style)
    numbers = [value for points in curves.values() for _, value in points if math.isfinite(value)]
    if panel == "bits" or not numbers:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(UNITS.get(panel, panel.replace("_", " ")), parse_math=False)
    axes.margins(x=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = [name for name, points in curves.items() if points]
    if len(drawn) > 1 or any(name.startswith(PREFIXES) for name in drawn):
        axes.legend(frameon=False, loc="best")


def _draw_levels(axes: Any, levels: Mapping[str, float]) -> None:
    """Draw horizontal lines, with their names to the right of the axes."""
    for name, level in levels.items():
        axes.axhline(level, color="#888888", linestyle=":", linewidth=1)
        axes.annotate(
            f"{name} {level:.4g}",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=9,
            color="#555555",
            parse_math=False,
        )


def gradient_flow(flow: Any, title: str = "") -> Picture:
    """Plot whether and where gradients vanish or explode on the way back through time.

    From top to bottom: the norms of the gradients with respect to the state after every step, on a
    logarithmic axis, and their average factor per step; the largest singular values of the step
    Jacobians (median and range over the batch), with a line at 1; what each step adds to the
    gradients of the parameters; and, if the flow was computed with ``by_loss_step``, the step of
    the loss that the gradients with respect to ``h`` of the last layer come from, in both
    directions together, with a line for each step if only a few have a loss.

    Parameters
    ----------
    flow : GradientFlow
        From :func:`portable_rnn.gradient_flow`.
    title : str

    Returns
    -------
    Picture
        The bytes of a PNG file, which a notebook shows.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    ImportError
        If matplotlib is not installed.
    """
    names = ("d_state", "params", "jacobian", "d_h_by_loss_step", "reverse")
    if isinstance(flow, type) or not all(hasattr(flow, name) for name in names):
        raise TypeError(f"flow: expected what gradient_flow returns, got {check.said(flow)}")
    if not flow.d_state:
        raise ValueError("flow: expected norms of gradients in d_state, got none")
    check.text("title", title)
    d_state = [float64_to_host(part) for part in flow.d_state]
    shares = None if flow.d_h_by_loss_step is None else float64_to_host(flow.d_h_by_loss_step)
    rows = 3 if shares is None else 4
    figure = _figure(8, 2.6 * rows + (1.2 if rows == 4 else 0))
    heights = [1.3, 1, 1] + ([1.6] if rows == 4 else [])
    axes = figure.subplots(rows, 1, gridspec_kw={"height_ratios": heights})
    figure.suptitle(title, parse_math=False)
    reverse = [bool(one) for one in flow.reverse]
    _draw_norms(axes[0], d_state, shares, reverse)
    _draw_singular_values(axes[1], float64_to_host(flow.jacobian))
    for number, (name, norms) in enumerate(flow.params.items()):
        style = "-" if number < len(COLOURS) else "--"
        _draw(axes[2], float64_to_host(norms), style, number, name)
    axes[2].set(yscale="log", ylabel="added to a\nweight gradient")
    if shares is not None:
        _draw_shares(figure, axes[3], shares[:, :, _last_layer(reverse), :])
    for ax in axes[:3]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(-0.5, d_state[0].shape[0] - 0.5)
    for ax in (axes[0], axes[2]):
        _legend(ax)
    axes[-1].set_xlabel("step t")
    return _png(figure)


def _draw(axes: Any, norms: Any, style: str, number: int, label: str) -> None:
    """Draw norms of gradients against the steps."""
    colour = COLOURS[number % len(COLOURS)]
    # A single step has no line.
    marker = "o" if np.count_nonzero(norms) == 1 else None
    steps = range(len(norms))
    axes.plot(steps, _positive(norms), style, color=colour, label=label, marker=marker)


def _draw_norms(axes: Any, d_state: list[Any], shares: Any, reverse: list[bool]) -> None:
    """Draw the norms of the gradients, by layer and direction, under a verdict on each."""
    verdicts = []
    names = _layers(reverse)
    for state, part, style in zip("hc", d_state, ("-", "--"), strict=False):
        for i, name in enumerate(names):
            # Over the batch; hypot does not underflow.
            norms = np.hypot.reduce(part[:, i, :], axis=1)
            label = rf"$\partial L/\partial {state}_t$" + (f", {name}" if name else "")
            _draw(axes, norms, style, i, label)
            if state == "h":
                # The way of a gradient, as if it went from the last step to the first.
                way = slice(None, None, -1 if reverse[i] else 1)
                alone = norms[way]
                if shares is not None:
                    alone = _from_the_last_loss(shares[way, way, i, :])
                verdicts.append(_verdict(alone, name))
    axes.set(yscale="log", ylabel="norm of the gradient")
    axes.set_title("\n".join(verdicts), loc="left", fontsize=10)


def _draw_singular_values(axes: Any, singular: Any) -> None:
    """Draw the median and the range over the batch, by layer and direction."""
    steps = range(len(singular))
    for layer in range(singular.shape[1]):
        colour = COLOURS[layer % len(COLOURS)]
        low, high = singular[:, layer].min(axis=1), singular[:, layer].max(axis=1)
        axes.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(steps, np.median(singular[:, layer], axis=1), color=colour)
    axes.axhline(1.0, color="#888888", linestyle=":", linewidth=1)
    axes.set(ylabel="largest singular\nvalue of a step")
    highest = float(singular.max(where=np.isfinite(singular), initial=0.0))
    axes.set_ylim(bottom=0.0, top=max(1.1, 1.05 * highest))


def _draw_shares(figure: Any, axes: Any, shares: Any) -> None:
    """Draw the parts of a gradient by the step of the loss: as lines, or an image if many."""
    from matplotlib.colors import LogNorm

    parts = np.hypot.reduce(np.hypot.reduce(shares, axis=3), axis=2)
    steps = np.arange(len(parts))
    losses = np.flatnonzero(parts.any(axis=1))
    if 0 < len(losses) <= len(COLOURS) < len(parts):
        for number, s in enumerate(losses):
            _draw(axes, parts[s], "-", number, f"loss at step {s}")
        axes.set(yscale="log", ylabel="part of the gradient")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(-0.5, len(parts) - 0.5)
        _legend(axes)
        return
    image = _positive(parts)
    finite = image[np.isfinite(image)]
    top = float(finite.max()) if finite.size else 1.0
    scale = LogNorm(max(top * 1e-6, float(finite.min()) if finite.size else 1.0), top)
    shown = axes.pcolormesh(steps, steps, image, norm=scale, cmap="viridis")
    axes.set(ylabel="loss at step")
    figure.colorbar(shown, ax=axes, label="its part of the gradient", extend="min")


def _legend(axes: Any) -> None:
    """Name the lines to the right of a logarithmic axis."""
    from matplotlib.ticker import LogLocator

    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)


def _layers(reverse: list[bool]) -> list[str]:
    """Return the names of the layers and directions; "" for a single one."""
    both = len(set(reverse)) > 1
    layers = range(len(reverse) // (2 if both else 1))
    if not both:
        return [f"layer {i}" for i in layers] if len(layers) > 1 else [""]
    ways = ("forward", "reverse")
    return [f"layer {i}, {way}" if len(layers) > 1 else way for i in layers for way in ways]


def _last_layer(reverse: list[bool]) -> slice:
    """Return where the last layer is, in both directions if it has them."""
    return slice(-2 if len(set(reverse)) > 1 else -1, None)


def _curves(metrics: Any) -> dict[str, list[tuple[float, float]]]:
    """Return checked pairs of a step and a number by name, in the order of the names."""
    found: dict[str, list[tuple[float, float]]] = {}
    if isinstance(metrics, Mapping):
        for name, values in metrics.items():
            what = f"metrics[{name!r}]"
            check.text("metrics, a name", name)
            if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
                raise TypeError(f"{what}: expected a sequence of numbers, got {check.said(values)}")
            found[name] = [_point(f"{what}[{i}]", i, value) for i, value in enumerate(values)]
        return found
    if isinstance(metrics, (str, bytes)) or not isinstance(metrics, Sequence):
        wanted = "a sequence of dicts, or a dict of sequences"
        raise TypeError(f"metrics: expected {wanted}, got {check.said(metrics)}")
    for i, entry in enumerate(metrics):
        if not isinstance(entry, Mapping) or "step" not in entry:
            wanted = "a dict with a step"
            raise TypeError(f"metrics[{i}]: expected {wanted}, got {check.said(entry)}")
        step = _number(f"metrics[{i}]['step']", entry["step"])
        for name in entry:
            check.text(f"metrics[{i}], a name", name)
            if name != "step":
                point = step, _number(f"metrics[{i}][{name!r}]", entry[name])
                found.setdefault(name, []).append(point)
    return found


def _point(name: str, index: int, value: Any) -> tuple[float, float]:
    """Return a pair of a step and a number; a number alone is at the step of its place."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name}: expected a step and a number, got {len(value)} entries")
        return _number(f"{name}[0]", value[0]), _number(f"{name}[1]", value[1])
    return index + 1, _number(name, value)


def _without_prefix(name: str) -> str:
    return next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name)


def _number(name: str, value: Any) -> float:
    """Check a number to plot; NaN, the mean of nothing, leaves a gap."""
    try:
        nothing = math.isnan(value)
    except Exception:  # not a number, or one that no float can be
        nothing = False
    return math.nan if nothing else check.number(name, value, infinite=True)


def _figure(width: float, height: float) -> Any:
    """Return an empty figure, without a window system or global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "matplotlib is needed to draw: pip install matplotlib (the extra 'plot')"
        ) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return Picture(buffer.getvalue())


def _positive(norms: Any) -> Any:
    """Replace 0 by NaN, which leaves a gap on a logarithmic axis."""
    return np.where(norms > 0.0, norms, np.nan)


def _from_the_last_loss(shares: Any) -> Any:
    """Return the norms of what comes from the last step with a loss, up to that step."""
    rows = np.hypot.reduce(shares, axis=2)
    last = max(np.flatnonzero(rows.any(axis=1)), default=len(rows) - 1)
    return rows[last, : last + 1]


def _verdict(norms: Any, name: str) -> str:
    """Return the average factor of a gradient per step back, in words."""
    where = f"{name}: " if name else ""
    steps = len(norms) - 1
    if not (math.isfinite(norms[0]) and math.isfinite(norms[-1])):
        return f"{where}is not finite"
    if steps == 0 or norms[-1] == 0.0:
        return f"{where}nothing to compare"
    if norms[0] == 0.0:
        return f"{where}vanishes entirely"
    factor = float((norms[0] / norms[-1]) ** (1.0 / steps))
    total = norms[0] / norms[-1]
    word = "vanishes" if total < 1e-3 else "explodes" if total > 1e3 else "is carried"
    return f"{where}{word}: ×{factor:.3f} per step back, ×{total:.1e} in all"
