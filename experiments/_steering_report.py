"""Many seeds of `steering.py` become one: means over people and seeds, ratios with intervals, tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tacit_experiments.steering.outcomes import even_length_win_rate, steering_efficiency, win_rate

__all__ = ["report", "summarise"]

AGAINST = ("unsteered", "DPO for everybody")
BAYES = "told, as Bayes believes"
SHUFFLED = "shuffled user"
CONTROLS = (("NP-DPO", "0"), (SHUFFLED, "5"), (SHUFFLED, "10"), (SHUFFLED, "20"))
RESAMPLES = 4000
LANGUAGE = ("perplexity", "malformed", "distinct", "empty", "words", "apart")


def summarise(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over users first, ratios last; intervals by resampling users of all seeds together."""
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for part in parts:
        for name, by_k in part["methods"].items():
            for k, numbers in by_k.items():
                found.setdefault(name, {}).setdefault(k, {})[part["seed"]] = numbers

    def joined(name: str, k: str, key: str, seeds: Iterable[int]) -> Tensor:
        """Of some seeds: Float32[users questions]. What a method is compared with comes from its own seeds."""
        return torch.tensor([row for seed in seeds for row in found[name][k][seed][key]])

    methods: dict[str, dict[str, Any]] = {}
    for name, by_k in found.items():
        methods[name] = {}
        for k, each in by_k.items():
            gold, words = joined(name, k, "gold", each), joined(name, k, "words_each", each)
            plain, told = (joined(other, "0", "gold", each).mean(1) for other in ("unsteered", "told"))
            values = gold.mean(1).unsqueeze(0)
            efficiency, interval = steering_efficiency(values, plain, told)
            against = {
                other: (joined(other, "0", "gold", each), joined(other, "0", "words_each", each)) for other in AGAINST
            }
            methods[name][k] = one = {
                "seeds": sorted(each),
                "people": len(gold),
                "gold": float(values.mean()),
                "efficiency": _finite(efficiency[0]),
                "efficiency_interval": [_finite(end) for end in interval[0]],
                **{key: sum(numbers[key] for numbers in each.values()) / len(each) for key in LANGUAGE},
                "wins": {other: float(win_rate(gold, theirs)) for other, (theirs, _) in against.items()},
                "wins_even_length": {
                    other: even_length_win_rate(gold, theirs, words, their_words)
                    for other, (theirs, their_words) in against.items()
                },
            }
            if k in found[BAYES] and int(k) > 0:
                share, of = steering_efficiency(values, plain, joined(BAYES, k, "gold", each).mean(1))
                one |= {"of_bayes": _finite(share[0]), "of_bayes_interval": [_finite(end) for end in of[0]]}
    whole = [part for part in parts if "continuum" in part]
    line = torch.tensor([part["continuum"] for part in whole]).mean(0)
    return {
        "seeds": sorted({part["seed"] for part in parts}),
        "methods": methods,
        "controls": _controls(whole),
        "directions": {
            way: _mean([part["directions"].get(way) for part in whole])
            for way in sorted({way for part in whole for way in part["directions"]})
        },
        "continuum": {
            "points": line.tolist(),
            "answers_a_point": whole[0]["continuum_answers_a_point"],
            "spearman": [_spearman(-line[:, 0]), _spearman(line[:, 1])],
        },
    }


def _controls(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What must be no better than one policy for everybody: true reward less that policy's, in nats, paired by person.

    Two people are alike by chance: their tastes are uniform on a sphere, so the cosine of a pair is 0 on average, but
    over 100 pairs the mean still wanders by 0.045, and whoever steers well turns it into reward. With another person's
    choices, "unrelated" is therefore the reward where that cosine is 0: the intercept of a line through all pairs
    (a control variate: a quantity whose expectation is known).
    """
    alike = torch.cat([_likeness(torch.tensor([one["tastes"] for one in part["answers"]])) for part in parts])
    found = []
    for name, k in CONTROLS:
        if not all(k in part["methods"].get(name, {}) for part in parts):
            continue
        gain = torch.cat([
            torch.tensor(part["methods"][name][k]["gold"]).mean(1)
            - torch.tensor(part["methods"]["DPO for everybody"]["0"]["gold"]).mean(1)
            for part in parts
        ])  # fmt: skip
        rows = torch.randint(len(gain), (RESAMPLES, len(gain)), generator=torch.Generator().manual_seed(0))
        one = {"method": name, "k": int(k), "gain": float(gain.mean()), "gain_interval": _middle(gain[rows].mean(1))}
        if name == SHUFFLED:
            whole = torch.arange(len(gain)).unsqueeze(0)
            one |= {
                "cosine": float(alike.mean()),
                "unrelated": float(_intercept(alike[whole], gain[whole])),
                "unrelated_interval": _middle(_intercept(alike[rows], gain[rows])),
            }
        found.append(one)
    return found


def _likeness(tastes: Tensor) -> Tensor:
    """Cosine of each person's tastes, Float[people attributes], and those of whose choices `SteeringWorld` swaps in."""
    return torch.cosine_similarity(tastes, tastes.roll(1, 0), dim=1)


def _intercept(x: Tensor, y: Tensor) -> Tensor:
    """Of the least-squares line y(x) in each row."""
    x_mean, y_mean = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    slope = ((x - x_mean) * (y - y_mean)).sum(1) / (x - x_mean).square().sum(1).clamp(min=1e-12)
    return y_mean.squeeze(1) - slope * x_mean.squeeze(1)


def _middle(values: Tensor) -> list[float]:
    """The 95 % in the middle."""
    return values.quantile(torch.tensor([0.025, 0.975])).tolist()


def report(result: Mapping[str, Any], table: Callable[[list[str], list[list[str]]], None]) -> None:
    """Print the tables."""
    print(f"\nseeds {result['seeds']}")
    rows, language = [], []
    for name, by_k in result["methods"].items():
        for k, found in by_k.items():
            bayes = _with_interval(found["of_bayes"], found["of_bayes_interval"]) if "of_bayes" in found else ""
            wins, even = found["wins"], found["wins_even_length"]
            efficiency = _with_interval(found["efficiency"], found["efficiency_interval"])
            rows.append([
                name, k, f"{found['people']}", f"{found['gold']:.2f}", efficiency, bayes,
                f"{100 * wins['unsteered']:.0f} / {100 * even['unsteered']:.0f}",
                f"{100 * wins['DPO for everybody']:.0f} / {100 * even['DPO for everybody']:.0f}",
            ])  # fmt: skip
            language.append([name, k, *(f"{found[key]:.3f}" for key in LANGUAGE)])
    print("wins: %, of all answers / at even length")
    table(
        [
            "method",
            "k",
            "people",
            "gold, nats",
            "efficiency (95 %)",
            "of Bayes (95 %)",
            "wins: base",
            "wins: everybody's DPO",
        ],
        rows,
    )
    table(["method", "k", *LANGUAGE], language)
    table(
        ["less everybody's DPO", "k", "nats (95 %)", "unrelated tastes (95 %)", "mean cosine"],
        [
            [
                one["method"], str(one["k"]), _with_interval(one["gain"], one["gain_interval"]),
                _with_interval(one["unrelated"], one["unrelated_interval"]) if "unrelated" in one else "",
                f"{one['cosine']:+.3f}" if "cosine" in one else "",
            ]
            for one in result["controls"]
        ],
    )  # fmt: skip
    table(["NP-DPO, k = 10", "moved, sd"], [[way, f"{value:+.2f}"] for way, value in result["directions"].items()])
    line = result["continuum"]
    last = len(line["points"]) - 1
    points = [[f"{place / last:.1f}", f"{a:.2f}", f"{b:.2f}"] for place, (a, b) in enumerate(line["points"])]
    table(["continuum", "gold of A", "gold of B"], points)
    print(f"Spearman: A falls {line['spearman'][0]:.3f}, B rises {line['spearman'][1]:.3f}; "
          f"{line['answers_a_point']} answers a point and seed")  # fmt: skip


def _finite(value: Tensor) -> float | None:
    """None where told and unsteered are worth the same, as after the few steps of --fast."""
    return float(value) if bool(value.isfinite()) else None


def _with_interval(value: float | None, interval: Sequence[float | None]) -> str:
    middle, low, high = ("-" if number is None else f"{number:.2f}" for number in (value, *interval))
    return f"{middle} ({low} to {high})"


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / max(1, len(known))


def _spearman(values: Tensor) -> float:
    """Rank correlation of values with their places; no ties."""
    ranks = values.argsort().argsort().double()
    return float(torch.corrcoef(torch.stack([ranks, torch.arange(len(ranks)).double()]))[0, 1])
