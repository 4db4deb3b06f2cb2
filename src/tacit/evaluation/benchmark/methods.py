"""The methods of the table: how each is fitted to a task, and the settings that tuning may choose from.

Every method has the same budget: as many settings as every other, the same validation users, the same rule for stopping
early. The first setting of a grid is the one its authors published, or our default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tacit import baselines
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.task import Task
from tacit.rewards import RewardConfig, fit_reward
from tacit.training import TrainingConfig

__all__ = ["METHODS", "Method", "Settings"]

Settings = Mapping[str, Any]
"""`{"config": {...}, "training": {...}, "principal": n}`, all optional: over the method's config, over `TRAINING`, and
how many principal components of items it is shown instead of their vectors (`Task.principal`)."""

TRAINING = {"steps": 600, "validate_every": 50, "patience": 6, "threads": 1, "device": "cpu"}
BUDGET = 4
"""Settings per method."""

Kind = Literal["ours", "control", "published", "strong", "upper"]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: what `tacit benchmark --method` calls it.
        label: what the table calls it.
        kind: `ours`; `control` (one reward for all); `published` (a peer's personalised method); `strong` (textbook
            statistics); `upper` (told the true types: a line, not a rival).
        fit: (task, settings, seed) -> a `PreferenceModel`; for the oracle, one per type.
        grid: `BUDGET` settings.
    """

    name: str
    label: str
    kind: Kind
    fit: Callable[[Task, Settings, int], Any]
    grid: tuple[Settings, ...]

    def __post_init__(self) -> None:
        if len(self.grid) != BUDGET:
            raise ConfigError(f"method {self.name!r} brings {len(self.grid)} settings; every method has {BUDGET}")

    @property
    def needs_types(self) -> bool:
        """Whether it must be told the true types of users."""
        return self.kind == "upper"


def _arguments(task: Task, config_class: type, settings: Settings, seed: int) -> dict[str, Any]:
    return {
        "validation": task.validation.index,
        "target_groups": task.validation.targets,
        "config": config_class(**settings.get("config", {})),
        "training": TrainingConfig(**{**TRAINING, "seed": seed, **settings.get("training", {})}),
    }


def _fits(function: Callable[..., Any], config_class: type) -> Callable[[Task, Settings, int], Any]:
    def fit(task: Task, settings: Settings, seed: int) -> Any:
        return function(task.train.index, task.vectors, **_arguments(task, config_class, settings, seed))

    return fit


def _oracle(task: Task, settings: Settings, seed: int) -> baselines.OracleBTL:
    types, others = _types(task, "train"), _types(task, "validation")
    given = _arguments(task, RewardConfig, settings, seed)
    return baselines.fit_oracle(task.train.index, task.vectors, types, validation_groups=others, **given)


def _known(task: Task, settings: Settings, seed: int) -> Any:
    given = _arguments(task, baselines.MixtureConfig, settings, seed)
    return baselines.fit_mixture_known(task.train.index, task.vectors, _types(task, "train"), **given)


def _types(task: Task, part: Literal["train", "validation"]) -> Any:
    types = getattr(task, part).types
    if types is None:
        raise ConfigError(f"{task.name}: nobody knows the types of these users, so no method can be told them")
    return types


def _grid(*settings: dict[str, Any], training: Mapping[str, Any] | None = None) -> tuple[Settings, ...]:
    """Each setting's own `training` over a common one, its `principal`, and the rest as the method's config."""
    grid = []
    for setting in settings:
        config = {key: value for key, value in setting.items() if key not in ("training", "principal")}
        view = {"principal": setting["principal"]} if "principal" in setting else {}
        grid.append({"config": config, "training": {**(training or {}), **setting.get("training", {})}, **view})
    return tuple(grid)


FAST_MANY = {"users_per_batch": 256, "targets": 4, "max_context": 10, "learning_rate": 5e-3}
"""Many users with few targets each: what noise-free types want (docs/log.md, the 1-D world)."""

_POOLED = _grid({}, {"dropout": 0.5}, {"head": {"hidden": ()}}, {"principal": 32})
_TYPES = {"base": False, "half_life": "fit"}

_ALL = (
    Method(
        "np_btl", "NP-BTL (ours)", "ours", _fits(fit_reward, RewardConfig),
        _grid(
            {"half_life": "fit"},
            {"half_life": "fit", "latent": 4, "principal": 32},
            {**_TYPES, "encoder": {"components": 8}},
            {
                **_TYPES, "encoder": {"components": 2}, "latent": 2, "dropout": 0.0,
                "head": {"hidden": (128, 128)}, "training": FAST_MANY,
            },
        ),
    ),
    Method("btl", "pooled BTL", "control", _fits(baselines.fit_pooled, RewardConfig), _POOLED),
    Method("dpl", "DPL", "control", _fits(baselines.fit_dpl, RewardConfig), _POOLED),
    Method(
        "laplace", "Bayesian logistic", "strong", _fits(baselines.fit_laplace, baselines.LaplaceConfig),
        _grid({}, {"components": 64}, {"base": "mlp"}, {"base": "mlp", "principal": 32}),
    ),
    Method(
        "gp", "pairwise GP", "strong", _fits(baselines.fit_pairwise_gp, baselines.GPConfig),
        _grid({}, {"components": 64}, {"dropout": 0.5}, {"principal": 32}),
    ),
    Method(
        "mixture", "mixture of BTLs (EM)", "strong", _fits(baselines.fit_mixture, baselines.MixtureConfig),
        _grid(
            {}, {"groups": 8}, {"groups": 4, "principal": 32}, {"groups": 2, "dropout": 0.0, "training": FAST_MANY}
        ),
    ),
    Method(
        "knn", "kNN users", "strong", _fits(baselines.fit_knn_users, baselines.KNNConfig),
        _grid({}, {"components": 64}, {"components": 128}, {"neighbours": 50}),
    ),
    Method(
        "lore", "LoRe", "published", _fits(baselines.fit_lore, baselines.LoReConfig),
        _grid({}, {"l2": 0.1}, {"l2": 1.0}, {"l2": 0.1, "principal": 32}, training={"learning_rate": 0.01}),
    ),
    Method(
        "pref", "PReF", "published", _fits(baselines.fit_pref, baselines.PReFConfig),
        _grid({}, {"l2": 1.0}, {"l2": 0.1}, {"principal": 32}, training={"learning_rate": 0.005}),
    ),
    Method(
        "mrm", "MRM", "published", _fits(baselines.fit_mrm, baselines.MRMConfig),
        _grid(dict(baselines.PUBLISHED_INNER), {}, {"rank": 4}, {"principal": 32}),
    ),
    Method(
        "vpl", "VPL", "published", _fits(baselines.fit_vpl, baselines.VPLConfig),
        _grid({}, {"kl_weight": 3e-6}, {"dropout": 0.3}, {"dropout": 0.3, "principal": 32}),
    ),
    Method(
        "spl", "SPL", "published", _fits(baselines.fit_spl, baselines.SPLConfig),
        _grid({}, {"kl_weight": 1e-4}, {"dropout": 0.3}, {"dropout": 0.3, "principal": 32}),
    ),
    Method(
        "pal", "PAL", "published", _fits(baselines.fit_pal, baselines.PALConfig),
        _grid({}, {"prototypes": 8}, {"prototypes": 8, "dropout": 0.3}, {"prototypes": 8, "principal": 32}),
    ),
    Method(
        "gpo", "GPO", "published", _fits(baselines.fit_gpo, baselines.GPOConfig),
        _grid({}, {"dropout": 0.3}, {"layers": 3}, {"dropout": 0.3, "principal": 32}),
    ),
    Method("mixture_known", "mixture, told the types", "upper", _known, _grid({}, {}, {}, {})),
    Method("oracle", "BTL per type, told", "upper", _oracle, _POOLED),
)  # fmt: skip

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
"""By name, in the order of the table."""
