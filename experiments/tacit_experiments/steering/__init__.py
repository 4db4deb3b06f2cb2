"""Does a policy follow people? The text world's strangers get answers to new questions, and their true taste judges."""

from tacit_experiments.steering.arms import ARMS, Arm, Types, find_types, train_arm
from tacit_experiments.steering.candidates import ROOM, Pool, best_of_pool, draw_pool, with_examples
from tacit_experiments.steering.continuum import continuum, opposed
from tacit_experiments.steering.judging import Outcome, directions, generated, judged
from tacit_experiments.steering.observer import bayes_observer
from tacit_experiments.steering.setting import NAT, Setting
from tacit_experiments.steering.world import KS, SteeringWorld

__all__ = [
    "ARMS",
    "KS",
    "NAT",
    "ROOM",
    "Arm",
    "Outcome",
    "Pool",
    "Setting",
    "SteeringWorld",
    "Types",
    "bayes_observer",
    "best_of_pool",
    "continuum",
    "directions",
    "draw_pool",
    "find_types",
    "generated",
    "judged",
    "opposed",
    "train_arm",
    "with_examples",
]
