"""Training a reward model on the paper's 1-D world against the usual way of doing it.

    python experiments/reward_training.py [--out reward_training.json] [--fast]

(a) Throughput in target pairs per second (64 users x 20 targets, up to 10 context choices), same network in both arms,
    each at its best thread count: once tacit's network, once the usual 256-wide one; and where a step's time goes.
(b) Wall time to 94 % at k = 3 on unseen users and disjoint targets, each arm with its own network and settings, tacit
    as `tacit synthetic` trains it, the usual way at the best of several learning rates (chosen for it on the first
    seed, that search not counted). Clocks stop during evaluation and start with data in memory.

Arms alternate within one run. An arm that does not arrive within --cap seconds counts as the cap, and is reported so.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from _report import alternate, cores, finish, machine, median, parser, ratio, table
from reference_loop import UsualEpisodes, UsualNetwork, as_episode, batches
from tacit.choices.index import ChoiceIndex
from tacit.episodes import ChoiceBatch, Episode, EpisodeSampler
from tacit.rewards.network import RewardNetwork
from tacit.training import TrainingConfig, train
from tacit.training.hardware import cpu_threads
from tacit.training.loop import make_optimizer, optimize
from tacit.workflows.synthetic import synthetic_configs
from tacit.worlds.piecewise import PiecewiseWorld

USERS, CONTEXT, TARGETS = 64, 10, 20
GOAL, AT = 0.94, 3
RACE_STEPS = 300  # of our schedule in (b)
ARMS = ("tacit", "usual")
PARTS = ("draw episodes", "forward", "backward", "optimiser")


def main() -> None:
    """Measure both, print the tables, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=3, help="runs of (b)")
    made.add_argument("--cap", type=float, default=300.0, help="seconds after which an arm of (b) is given up")
    made.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3], help="Adam rates of the usual way")
    made.add_argument("--repeats", type=int, default=9)
    made.add_argument("--only", choices=["a", "b"])
    options = made.parse_args()
    if options.fast:
        options.seeds, options.cap, options.rates, options.repeats = 1, 5.0, [1e-3], 2
    result: dict[str, Any] = {"machine": machine(options.device), "fast": options.fast}
    world = PiecewiseWorld.generate(options.seed, users=(500, 100, 500) if options.fast else (4000, 500, 2000))
    if options.only != "b":
        result["throughput"] = throughput(world, options)
    if options.only != "a":
        result["time_to_accuracy"] = time_to_accuracy(options, result.get("throughput"))
    finish(result, options.out)


# -- (a) ---------------------------------------------------------------------------------------------------------------


@dataclass
class Setting:
    """What the arms of (a) share: a network's class, its optimiser, the data."""

    network: Callable[[], Any]
    world: PiecewiseWorld
    training: TrainingConfig
    device: str

    def fresh(self) -> tuple[Any, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = self.network().to(self.device).train()
        return network, make_optimizer(network, self.training)


def throughput(world: PiecewiseWorld, options: Namespace) -> dict[str, Any]:
    reward, training = synthetic_configs(options.seed)["np_btl"]
    shape = {"users_per_batch": USERS, "max_context": CONTEXT, "targets": TARGETS}  # of the published experiment
    training = training.model_copy(update=shape)
    networks = {"tacit": lambda: RewardNetwork(1, reward), "256-wide": lambda: UsualNetwork(1)}
    results: dict[str, Any] = {}
    for kind, network in networks.items():
        setting = Setting(network, world, training, options.device)
        found = results[kind] = one_network(setting, 3 if options.fast else 30, options.repeats)
        rows: list[list[object]] = []
        for arm in ARMS:
            spent = found["milliseconds_per_step"][arm]
            rows.append([arm, found["threads"][arm], found["pairs_per_second"][arm], *(spent[part] for part in PARTS)])
        rows.append(["ratio", "", found["ratio"]["of_medians"], *[""] * len(PARTS)])
        table([f"{kind} network", "threads", "pairs/s", *(f"{part}, ms" for part in PARTS)], rows)
        table([f"{kind} network", "processor ms per step"], list(found["processor_milliseconds_per_step"].items()))
    return results


def one_network(setting: Setting, steps: int, repeats: int) -> dict[str, Any]:
    """Pairs per second of both arms at 1 .. all cores, and the breakdown of a step at the best."""
    sampler = EpisodeSampler(setting.world.train.index, setting.world.vectors, CONTEXT, TARGETS, 0).to(setting.device)
    episodes = UsualEpisodes(setting.world.train.index, setting.world.vectors, max_context=CONTEXT, targets=TARGETS)
    arms: dict[str, Callable[[], float]] = {}
    for threads in sorted({1, cores()}):
        loader = batches(episodes, users=USERS, max_context=CONTEXT, seed=0)
        arms[f"tacit/{threads}"] = _timed(_tacit_step(setting, sampler), threads, steps, setting.device)
        arms[f"usual/{threads}"] = _timed(_usual_step(setting, loader), threads, steps, setting.device)
    speed = alternate(arms, repeats)
    best = {arm: max((a for a in arms if a.startswith(arm)), key=lambda a: median(speed[a])) for arm in ARMS}
    threads = {arm: int(name.split("/")[1]) for arm, name in best.items()}
    with cpu_threads(threads["tacit"]):
        tacit = breakdown(setting, lambda i: sampler.sample(sampler.users_of_step(i, USERS), i), steps)
    with cpu_threads(threads["usual"]):
        loader = batches(episodes, users=USERS, max_context=CONTEXT, seed=1)
        usual = breakdown(setting, lambda _: as_episode(next(loader)), steps)
        alone = batches(episodes, users=USERS, max_context=CONTEXT, seed=2, workers=0)
    processor = {
        "tacit": _processor(_tacit_step(setting, sampler), steps),
        "usual, training": _processor(_usual_step(setting, loader), steps),
        "usual, worker": _processor(lambda _: next(alone), steps),
    }
    return {
        "pairs_per_second": {arm: median(speed[name]) for arm, name in best.items()},
        "pairs_per_second_by_threads": {name: median(values) for name, values in speed.items()},
        "threads": threads,
        "ratio": ratio(speed[best["tacit"]], speed[best["usual"]]),
        "milliseconds_per_step": {"tacit": tacit, "usual": usual},
        "processor_milliseconds_per_step": processor,
        "steps": steps,
        "repeats": repeats,
    }


def _tacit_step(setting: Setting, sampler: EpisodeSampler) -> Callable[[int], object]:
    network, optimizer = setting.fresh()
    return lambda step: optimize(network, optimizer, sampler, setting.training, step, 1e-3)


def _usual_step(setting: Setting, loader: Iterator) -> Callable[[int], object]:
    network, optimizer = setting.fresh()

    def step(_: int) -> None:
        episode = as_episode(next(loader)).to(setting.device)
        optimizer.zero_grad(set_to_none=True)
        network.loss(episode, setting.training.objective, None).backward()
        nn.utils.clip_grad_norm_(network.parameters(), setting.training.clip)
        optimizer.step()

    return step


def _timed(step: Callable[[int], object], threads: int, steps: int, device: str) -> Callable[[], float]:
    """A measurement in pairs per second, from the median step, which a busy neighbour moves less than the mean.

    A few steps go first, so that neither arm starts with batches laid in store.
    """

    def measure() -> float:
        marks = []
        with cpu_threads(threads):
            for i in range(steps + 5):
                marks.append(_now(device))
                step(i)
            marks.append(_now(device))
        return USERS * TARGETS / median([b - a for a, b in pairwise(marks[5:])])

    return measure


def breakdown(setting: Setting, draw: Callable[[int], Episode], steps: int) -> dict[str, float]:
    """Median milliseconds of each part of a step."""
    network, optimizer = setting.fresh()
    spent: list[list[float]] = []
    for i in range(steps + 5):
        marks = [_now(setting.device)]
        episode = draw(i).to(setting.device)
        marks.append(_now(setting.device))
        loss = network.loss(episode, setting.training.objective, None)
        marks.append(_now(setting.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(_now(setting.device))
        nn.utils.clip_grad_norm_(network.parameters(), setting.training.clip)
        optimizer.step()
        marks.append(_now(setting.device))
        spent.append([1e3 * (b - a) for a, b in pairwise(marks)])
    return {part: median(values) for part, values in zip(PARTS, zip(*spent[5:], strict=True), strict=True)}


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _processor(step: Callable[[int], object], steps: int) -> float:
    """Processor milliseconds of this process per step on one thread: what neighbours hardly change."""
    with cpu_threads(1):
        for i in range(5):
            step(i)
        start = time.process_time()
        for i in range(steps):
            step(i)
        return 1e3 * (time.process_time() - start) / steps


# -- (b) ---------------------------------------------------------------------------------------------------------------


class Race:
    """A clock that stops while the held-out accuracy is looked at, and says when the goal or the cap is reached."""

    def __init__(self, cap: float) -> None:
        self.cap, self.spent, self.best = cap, 0.0, 0.0
        self.started = time.perf_counter()

    def look(self, accuracy: Callable[[], float]) -> bool:
        """Whether it is over."""
        self.spent += time.perf_counter() - self.started
        self.best = max(self.best, accuracy())
        self.started = time.perf_counter()
        return self.best >= GOAL or self.spent >= self.cap

    def result(self) -> dict[str, Any]:
        arrived = self.best >= GOAL
        return {"seconds": self.spent if arrived else self.cap, "arrived": arrived, "best_accuracy": self.best}


class RaceOverError(Exception):
    """The race is over: leaves the training loop."""


def time_to_accuracy(options: Namespace, measured: dict[str, Any] | None) -> dict[str, Any]:
    every = 10
    threads = measured["256-wide"]["threads"]["usual"] if measured else 1

    def usual(seed: int, rate: float) -> dict[str, Any]:
        return usual_race(seed, rate, options.cap, every, threads, options.device)

    warm_up(options)
    tuned = {rate: usual(options.seed, rate) for rate in options.rates} if len(options.rates) > 1 else {}
    rate = min(tuned, key=lambda r: (tuned[r]["seconds"], -tuned[r]["best_accuracy"])) if tuned else options.rates[0]
    runs: dict[str, list[dict[str, Any]]] = {"tacit": [], "usual": []}
    for seed in range(options.seed, options.seed + options.seeds):
        runs["tacit"].append(tacit_race(seed, options.cap, every, options.device))
        runs["usual"].append(usual(seed, rate))
        table(
            [f"seed {seed}", "seconds to 94 % at k = 3", "best"],
            [[arm, said(r[-1]), r[-1]["best_accuracy"]] for arm, r in runs.items()],
        )
    seconds = {arm: [run["seconds"] for run in found] for arm, found in runs.items()}
    found = ratio(seconds["usual"], seconds["tacit"])
    capped = sum(not run["arrived"] for run in runs["usual"])
    print(f"ratio of medians {'>= ' if capped else ''}{found['of_medians']:.1f} (usual way: Adam at {rate:g})")
    return {
        "goal": {"accuracy": GOAL, "k": AT},
        "runs": runs,
        "seconds_median": {arm: median(values) for arm, values in seconds.items()},
        "ratio": found,
        "usual_runs_given_up_at_the_cap": capped,
        "usual_rate": rate,
        "usual_rates_tried": {f"{r:g}": run for r, run in tuned.items()},
        "usual_threads": threads,
        "looked_every_steps": every,
    }


def said(run: dict[str, Any]) -> str:
    return f"{run['seconds']:.1f}" if run["arrived"] else f">= {run['seconds']:.0f}"


def tacit_race(seed: int, cap: float, every: int, device: str) -> dict[str, Any]:
    """The library's own training loop, thread choice included, as `tacit synthetic` configures it.

    The schedule is sized for this goal instead of for the last tenth of a point, as the other arm's rate is.
    """
    world = PiecewiseWorld.generate(seed)
    reward, training = synthetic_configs(seed, steps=RACE_STEPS)["np_btl"]
    training = training.model_copy(update={"validate_every": every, "device": device})
    held_out = held_out_episode(world.test.index, world.vectors)

    race = Race(cap)
    torch.manual_seed(seed)
    network = RewardNetwork(1, reward)
    network.standardizer.fit(world.vectors[world.train.index.items.unique()])
    with torch.no_grad():
        standard = network.standardizer(world.vectors)
    shown = held_out.map_vectors(network.standardizer)

    def accuracy(module: Any) -> float:
        episode = shown.to(device)
        with torch.no_grad():
            p = module.preference(
                module.posterior(episode.context), episode.target.vectors[:, :, 0], episode.target.vectors[:, :, 1]
            )
        return share_right(p - 0.5)

    def look(module: nn.Module) -> dict[str, float]:
        if race.look(lambda: accuracy(module)):
            raise RaceOverError
        return {"nll": -race.best}

    try:
        sampler = EpisodeSampler(world.train.index, standard, training.max_context, training.targets, seed)
        train(network, sampler, look, training)
    except RaceOverError:
        pass
    return race.result()


def usual_race(seed: int, rate: float, cap: float, every: int, threads: int, device: str) -> dict[str, Any]:
    """The usual loop with its own network and plain Adam, until the goal or the cap."""
    world = PiecewiseWorld.generate(seed)
    episodes = UsualEpisodes(world.train.index, world.vectors, max_context=CONTEXT, targets=TARGETS)
    held_out = held_out_episode(world.test.index, world.vectors).to(device)

    race = Race(cap)
    torch.manual_seed(seed)
    network = UsualNetwork(1).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    @torch.no_grad()
    def accuracy() -> float:
        network.eval()
        right = share_right(network(held_out.context, held_out.target))
        network.train()
        return right

    with cpu_threads(threads):
        for step, batch in enumerate(batches(episodes, users=USERS, max_context=CONTEXT, seed=seed), start=1):
            optimizer.zero_grad()
            network.loss(as_episode(batch).to(device)).backward()
            optimizer.step()
            if step % every == 0 and race.look(accuracy):
                break
    return race.result() | {"steps": step}


@dataclass(frozen=True)
class HeldOut(Episode):
    """Exactly `AT` context choices and other target choices of users and pairs that nobody trained on."""

    def map_vectors(self, function: Callable[[Tensor], Tensor]) -> "HeldOut":
        return HeldOut(*(side.with_vectors(function(side.vectors)) for side in (self.context, self.target)))


def held_out_episode(index: ChoiceIndex, vectors: Tensor, users: int = 1000) -> HeldOut:
    """The world shows a user each pair once, so other choices are disjoint choices."""
    items = vectors[index.items.reshape(index.n_users, -1, 2)[:users]]
    context, target = items[:, :AT], items[:, AT : AT + TARGETS]
    return HeldOut(*(ChoiceBatch.pairs(side[:, :, 0], side[:, :, 1]) for side in (context, target)))


def share_right(gap: Tensor) -> float:
    """A gap of zero is half right."""
    return ((gap > 0).double() + 0.5 * (gap == 0).double()).mean().item()


def warm_up(options: Namespace) -> None:
    """Both arms once, so that nobody pays for first imports."""
    tacit_race(options.seed, 0.0, 1, options.device)
    usual_race(options.seed, 1e-3, 0.0, 1, 1, options.device)


if __name__ == "__main__":
    main()
