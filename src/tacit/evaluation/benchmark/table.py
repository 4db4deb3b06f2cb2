"""The benchmark as Markdown: a summary that can be read at a glance, then every dataset in full."""

from collections.abc import Iterator, Sequence

from tacit.evaluation.benchmark.datasets import find_dataset
from tacit.evaluation.benchmark.methods import METHODS, Kind
from tacit.evaluation.benchmark.results import DatasetResult, MethodResult

__all__ = ["to_markdown"]

AT = 10
"""The k of the summary."""
PUBLISHED: tuple[Kind, ...] = ("published",)


def to_markdown(results: Sequence[DatasetResult]) -> str:
    """All tables; accuracies in per cent, gains in points, 95 % intervals over users in brackets."""
    return "\n".join([*_summary(results), *(line for result in results for line in _dataset(result))]) + "\n"


def _summary(results: Sequence[DatasetResult]) -> Iterator[str]:
    names = [name for name in METHODS if any(name in result.methods for result in results)]
    yield from (
        "# Benchmark",
        "",
        f"Accuracy in per cent at k = {AT} (the largest k below it where {AT} is not asked).",
        "",
    )
    yield from _header(["dataset", *(METHODS[name].label for name in names)])
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
                cells[k] = f"{list(_gains(result.methods[name]))[place]} {METHODS[name].label}"
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
            yield _row([METHODS[name].label, *_gains(result.methods[name])])
    yield ""


def _label(name: str, method: MethodResult) -> str:
    told = ", told" if METHODS[name].kind == "upper" and "told" not in METHODS[name].label else ""
    return METHODS[name].label + told + (" **leaks**" if method.leaks else "")


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
