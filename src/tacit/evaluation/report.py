"""What an evaluation found: numbers by k with intervals, the controls beside them, as JSON and as Markdown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.evaluation.predictions import Predictions

__all__ = ["Reliability", "Report", "Summary"]

LABELS = {
    "model": "model",
    "pooled": "pooled",
    "adaptation_off": "adaptation off",
    "shuffled_user": "shuffled user",
}

ByK = Mapping[int, float]
Bounds = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Summary:
    """Metrics of one method by k. A k that no user reaches is absent.

    Attributes:
        values: metric name -> k -> value; accuracies are fractions, NLL is in nats.
        interval: metric name -> k -> 95 % bootstrap interval over users, for the metrics that have one.
    """

    values: Mapping[str, ByK]
    interval: Mapping[str, Bounds] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> ByK:
        return self.values[metric]

    def to_json(self) -> dict[str, Any]:
        """`{"accuracy": {"0": 0.58, ...}, ..., "interval": {"accuracy": {"0": [0.57, 0.59], ...}, ...}}`."""
        plain: dict[str, Any] = {metric: {str(k): v for k, v in by_k.items()} for metric, by_k in self.values.items()}
        plain["interval"] = {
            metric: {str(k): list(bounds) for k, bounds in by_k.items()} for metric, by_k in self.interval.items()
        }
        return plain


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram of the model at one k: one entry per filled bin of confidence."""

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    mass: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Three lists of the same length."""
        return {"confidence": list(self.confidence), "accuracy": list(self.accuracy), "mass": list(self.mass)}


@dataclass(frozen=True)
class Report:
    """A model at each k, always with its controls, on one set of users.

    Attributes:
        model: the method under test.
        controls: "pooled" (if given), "adaptation_off", "shuffled_user", on the same users and targets.
        gain: by control, the paired difference per user; positive = the model is better, whatever the metric.
        n_users: users with at least k context choices, by k. Numbers at different k are of different people unless
            these are equal; compare along k in `parts["every_k"]`.
        n_users_every_k: users that have all k.
        reliability: by k, for the reliability diagram.
        episodes: what was asked and what was dropped (counts), and the settings.
        parts: the same report on subsets of the users: "every_k", and those the caller named.
        predictions: per-user answers, for comparisons between methods; not written.
    """

    model: Summary
    controls: Mapping[str, Summary]
    gain: Mapping[str, Summary]
    n_users: Mapping[int, int]
    n_users_every_k: int
    reliability: Mapping[int, Reliability]
    episodes: Mapping[str, Any]
    parts: Mapping[str, "Report"] = field(default_factory=dict)
    predictions: Predictions | None = field(default=None, repr=False, compare=False)

    @property
    def methods(self) -> dict[str, Summary]:
        """The model and its controls under readable names, as the plots take them."""
        return {LABELS["model"]: self.model} | {LABELS[name]: control for name, control in self.controls.items()}

    def to_json(self) -> dict[str, Any]:
        """The shape of `results.json`: plain dictionaries, keys are strings, no NaN."""
        plain: dict[str, Any] = {
            "model": self.model.to_json(),
            "controls": {name: control.to_json() for name, control in self.controls.items()},
            "gain": {name: gain.to_json() for name, gain in self.gain.items()},
            "n_users": {str(k): n for k, n in self.n_users.items()},
            "n_users_every_k": self.n_users_every_k,
            "reliability": {str(k): bins.to_json() for k, bins in self.reliability.items()},
        }
        if self.episodes:
            plain["episodes"] = dict(self.episodes)
        if self.parts:
            plain["parts"] = {name: part.to_json() for name, part in self.parts.items()}
        return plain

    def to_markdown(self) -> str:
        """Tables of accuracy, paired gains and calibration by k; 95 % intervals over users in brackets."""
        return "\n".join(self._lines("Evaluation", 1)) + "\n"

    def _lines(self, title: str, depth: int) -> Iterator[str]:
        yield from (f"{'#' * depth} {title}", "")
        yield from self._accuracy()
        yield ""
        yield from self._gains()
        yield ""
        yield from self._calibration()
        if self.episodes:
            yield from ("", self._footnote())
        for name, part in self.parts.items():
            plain = name.replace("_", " ").capitalize()
            heading = f"Users with every k ({part.n_users_every_k})" if name == "every_k" else plain
            yield ""
            yield from part._lines(heading, depth + 1)

    def _accuracy(self) -> Iterator[str]:
        columns = {label: method for label, method in self.methods.items() if method["accuracy"]}
        yield from _header(["k", "users", *(f"{label}, accuracy %" for label in columns), "worst decile of users %"])
        for k, n in self.n_users.items():
            worst = _percent(self.model["worst_decile"].get(k))
            yield _row([str(k), str(n), *(_cell(method, "accuracy", k) for method in columns.values()), worst])

    def _gains(self) -> Iterator[str]:
        columns = {LABELS[name]: gain for name, gain in self.gain.items() if gain["accuracy"]}
        yield from _header(["k", *(f"gain over {label}, points" for label in columns)])
        for k in self.n_users:
            yield _row([str(k), *(_cell(gain, "accuracy", k, signed=True) for gain in columns.values())])

    def _calibration(self) -> Iterator[str]:
        pooled = self.controls.get("pooled")
        names = ["k", "NLL", "Brier", "ECE"] + (["pooled NLL", "pooled ECE"] if pooled else [])
        yield from _header(names)
        for k in self.n_users:
            cells = [_decimal(self.model[metric].get(k)) for metric in ("nll", "brier", "ece")]
            cells += [_decimal(pooled[metric].get(k)) for metric in ("nll", "ece")] if pooled else []
            yield _row([str(k), *cells])

    def _footnote(self) -> str:
        e = self.episodes
        return (
            f"{e['targets']} target pairs of {e['users']} users, at most {e['max_targets']} each; left out: "
            f"{e['tied_targets']} tied pairs, {e['crossing_choices']} choices that cross the sides, "
            f"{e['users_without_target']} users without a target. Seed {e['seed']}."
        )


def _header(names: list[str]) -> Iterator[str]:
    yield _row(names)
    yield _row(["---:"] * len(names))


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(summary: Summary, metric: str, k: int, *, signed: bool = False) -> str:
    value = summary[metric].get(k)
    if value is None:
        return "n/a"
    bounds = summary.interval.get(metric, {}).get(k)
    sign = "+" if signed else ""
    text = f"{100 * value:{sign}.1f}"
    return text if bounds is None else f"{text} [{100 * bounds[0]:{sign}.1f}, {100 * bounds[1]:{sign}.1f}]"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def _decimal(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
