"""The benchmark on paper: a summary that can be read at a glance, every dataset in full, and pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator

from tacit.baselines.method import Kind
from tacit.evaluation.benchmark.datasets import find_dataset
from tacit.evaluation.benchmark.methods import find_method, in_table_order
from tacit.evaluation.benchmark.results import DatasetResult, MethodResult
from tacit.evaluation.plots import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure

__all__ = ["plot_accuracy_by_k", "plot_cost", "to_markdown"]

AT = 10
"""The k of the summary."""
PUBLISHED: tuple[Kind, ...] = ("published",)


def to_markdown(results: Sequence[DatasetResult]) -> str:
    """All tables; accuracies in per cent, gains in points, 95 % intervals over users in brackets."""
    return "\n".join([*_summary(results), *(line for result in results for line in _dataset(result))]) + "\n"


def _summary(results: Sequence[DatasetResult]) -> Iterator[str]:
    names = in_table_order({name for result in results for name in result.methods})
    yield from (
        "# Benchmark",
        "",
        f"Accuracy in per cent at k = {AT} (the largest k below it where {AT} is not asked).",
        "",
    )
    yield from _header(["dataset", *(find_method(name).label for name in names)])
    for result in results:
        at = max(i for i, k in enumerate(result.ks) if k <= AT)
        cells = [
            f"{100 * float(result.methods[name].accuracy[at]):.1f}" if name in result.methods else "" for name in names
        ]
        yield _row([result.name, *cells])
    yield ""
    compared = [result for result in results if "np_btl" in result.methods and result.rivals()]
    for what, kinds in (("any other method", ()), ("any published personalised method", PUBLISHED)):
        if any(result.rivals(*kinds) for result in compared):
            yield from _lead([result for result in compared if result.rivals(*kinds)], what, kinds)


def _lead(results: Sequence[DatasetResult], what: str, kinds: tuple[Kind, ...]) -> Iterator[str]:
    yield f"Paired gain of ours over the most accurate of {what} at that k (told ones excepted), points:"
    yield ""
    ks = sorted({k for result in results for k in result.ks})
    yield from _header(["dataset", *(f"k = {k}" for k in ks)])
    for result in results:
        cells = dict.fromkeys(ks, "")
        for place, (k, name) in enumerate(zip(result.ks, result.closest(*kinds), strict=True)):
            if name is not None:
                cells[k] = f"{list(_gains(result.methods[name]))[place]} {find_method(name).label}"
        yield _row([result.name, *cells.values()])
    yield ""


def _dataset(result: DatasetResult) -> Iterator[str]:
    about = find_dataset(result.name).about
    yield from (f"## {result.name}", "", f"{about[0].upper()}{about[1:]}.", "")
    users = ", ".join(f"{n} at k = {k}" for k, n in zip(result.ks, result.users, strict=True))
    yield from (f"Test users of seeds {', '.join(map(str, result.seeds))}: {users}.", "")
    columns = [f"k = {k}" for k in result.ks]
    last = result.ks[-1]
    yield from _header(
        ["method", *columns, f"NLL, k = {last}", f"ECE, k = {last}", f"shuffled, k = {last}", "adapt, ms", "fit, s"]
    )
    for name, method in result.methods.items():
        yield _row([_label(name, method), *_percents(method), *_rest(method)])
    if "np_btl" in result.methods:
        yield from ("", "Paired gain of ours over the method, points:", "")
        yield from _header(["method", *columns])
        for name in result.rivals():
            yield _row([find_method(name).label, *_gains(result.methods[name])])
    yield ""


def _label(name: str, method: MethodResult) -> str:
    told = ", told" if find_method(name).kind == "upper" and "told" not in find_method(name).label else ""
    return find_method(name).label + told + (" **leaks**" if method.leaks else "")


def _percents(method: MethodResult) -> Iterator[str]:
    for value, (low, high) in zip(method.accuracy.tolist(), method.interval.tolist(), strict=True):
        yield "n/a" if value != value else f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _gains(method: MethodResult) -> Iterator[str]:
    for value, (low, high) in zip(method.behind_ours.tolist(), method.behind_ours_interval.tolist(), strict=True):
        yield "n/a" if value != value else f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _rest(method: MethodResult) -> Iterator[str]:
    yield f"{float(method.nll[-1]):.3f}"
    yield f"{100 * float(method.ece[-1]):.1f}"
    yield f"{100 * float(method.shuffled[-1]):.1f}"
    yield f"{1000 * method.adapt_seconds:.2f}"
    yield f"{method.fit_seconds:.1f}"


def _header(names: Sequence[str]) -> Iterator[str]:
    yield _row(names)
    yield _row(["---", *["---:"] * (len(names) - 1)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


LINES = {"upper": (0, (4, 3)), "control": (0, (1, 1.5))}
OURS = "#0072B2"
TOP = 6
"""Methods with a colour of their own; the rest stay grey, so that the picture can be read."""


def plot_accuracy_by_k(path: Path, result: DatasetResult) -> None:
    """Accuracy in per cent against k: ours on top with its interval, the best others in colour, the rest grey."""
    figure = new_figure(8.2, 4.8)
    axes = plain_axes(figure.add_subplot())
    x = np.sqrt(result.ks)
    ranked = sorted(result.methods, key=lambda name: -float(result.methods[name].accuracy.nanmean()))
    coloured = [name for name in ranked if find_method(name).kind in ("strong", "published")][: TOP - 1]
    palette = dict(zip(coloured, STYLES[1:], strict=False))
    for name in ranked:
        method, kind = result.methods[name], find_method(name).kind
        y = 100 * method.accuracy.numpy()
        label, line = find_method(name).label, LINES.get(kind, "-")
        if kind == "ours":
            low, high = 100 * method.interval.numpy().T
            axes.fill_between(x, low, high, color=OURS, alpha=0.15, linewidth=0)
            axes.plot(x, y, color=OURS, linewidth=2.6, marker="o", zorder=9, label=label)
        elif name in palette:
            colour, marker = palette[name]
            axes.plot(x, y, color=colour, linewidth=1.4, marker=marker, markersize=4.5, label=label, zorder=5)
        else:
            colour = INK if kind in LINES else "#BBBBBB"
            axes.plot(x, y, color=colour, linewidth=1.1, linestyle=line, label=label, zorder=3)
    axes.set_xticks(x, [str(k) for k in result.ks])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("choices seen of the user, k (square-root scale)", color=INK)
    axes.set_ylabel("accuracy, %", color=INK)
    axes.set_title(f"{Path(result.name).name}: unseen users", loc="left", fontsize=12, color=INK)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
    save_figure(figure, path)


def plot_cost(path: Path, results: Sequence[DatasetResult]) -> None:
    """Milliseconds to adapt one user (ten choices) against accuracy over pooled at the largest k, over datasets."""
    figure = new_figure(7.4, 4.6)
    axes = plain_axes(figure.add_subplot())
    for name in in_table_order({name for result in results for name in result.methods}):
        method = find_method(name)
        found = [result.methods[name] for result in results if name in result.methods]
        if not found or method.kind in ("upper", "control"):
            continue
        gain = 100 * float(np.nanmean([float(each.over_pooled[-1]) for each in found]))
        cost = 1000 * float(np.median([each.adapt_seconds for each in found]))
        colour = OURS if method.kind == "ours" else MUTED
        axes.scatter(max(cost, 1e-3), gain, color=colour, s=52 if method.kind == "ours" else 26, zorder=5)
        axes.annotate(method.label, (max(cost, 1e-3), gain), xytext=(5, 4), textcoords="offset points", fontsize=8.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="minor", labelsize=8, colors=MUTED)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.grid(color=GRID, linewidth=0.8)
    axes.margins(x=0.15, y=0.12)
    axes.set_xlabel("time to adapt to one user with ten choices, ms", color=INK)
    axes.set_ylabel("gain over pooled at the largest k, points", color=INK)
    axes.set_title("What adapting costs and what it buys, mean over datasets", loc="left", fontsize=12, color=INK)
    save_figure(figure, path)
