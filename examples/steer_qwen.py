"""The demo's policy on a real base: Qwen2.5-0.5B-Instruct answers strangers of the text world as they like it.

    python examples/steer_qwen.py [--base Qwen/Qwen2.5-0.5B-Instruct] [--steps 200] [--out out/qwen]

Downloads the base if a hub can be reached (1 GB), or takes a folder. On one GPU minutes, on a laptop's CPU an evening:
try `--steps 20 --users 200` there first. The same by the command line, with data of your own: docs/policies.md.
"""

import argparse
import sys
from pathlib import Path

import torch

from tacit.choices.splits import cut, split_groups, split_users
from tacit.embedders import resolve_embedder
from tacit.embedders.table import item_vectors
from tacit.engines import Sampling, open_engine, requests
from tacit.episodes.from_table import choice_batch
from tacit.errors import TacitError
from tacit.policies import PolicyTrainingConfig
from tacit.training.config import TrainingConfig
from tacit.workflows.policy import train_policy
from tacit.workflows.reward import train_reward
from tacit.worlds.text import TextWorld

QUESTION = "How do I boil an egg?"


def main() -> None:
    """Train a reward model and a policy, then let two opposite strangers ask the same question."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--base", default="Qwen/Qwen2.5-0.5B-Instruct", help="hub name or folder")
    made.add_argument("--users", type=int, default=1400)
    made.add_argument("--steps", type=int, default=200)
    made.add_argument("--pairs", type=int, default=32, help="pairs per step")
    made.add_argument("--tokens", type=int, default=200, help="the longest answer")
    made.add_argument("--out", type=Path, default=Path("out/qwen"))
    options = made.parse_args()

    world = TextWorld.generate(0, n_users=options.users, choices_per_user=40, responses_per_prompt=16)
    known_users, strangers = split_users(world.table, (0.8, 0.2))
    known_prompts, _ = split_groups(world.table, (0.8, 0.2))
    known = cut(world.table, known_users, known_prompts).table
    reader = resolve_embedder("hash")
    trained = train_reward(
        known, item_vectors(known, reader), embedder=reader, training=TrainingConfig(steps=600, validate_every=50)
    )
    print("reward model trained; the policy's numbers go to", options.out.with_name(options.out.name + ".partial"))
    policy = train_policy(
        known, trained.model, options.base, options.out,
        training=PolicyTrainingConfig(
            max_steps=options.steps, per_device_train_batch_size=options.pairs, max_context=64,
            written=0,  # a prompt here has sixteen answers; with two or three, let the base write more
            eval_steps=max(1, options.steps // 4), eval_users=16,
        ),
    )  # fmt: skip
    numbers = torch.tensor([int(world.table.users[int(user)].as_py().removeprefix("user-")) for user in strangers])
    tastes = world.weights[numbers] / world.scale
    first, second = divmod(int((tastes @ tastes.T).argmin()), len(tastes))
    sampling, engine = Sampling(max_new_tokens=options.tokens, top_p=0.9), open_engine(policy)
    for place in (first, second):
        seen = cut(world.table, strangers[place : place + 1], known_prompts).table
        seen = seen.select((torch.arange(len(seen)) < 10).numpy())
        state = trained.model.infer(choice_batch(seen, item_vectors(seen, reader)))
        said = engine.generate(requests([QUESTION], policy.latents(state), sampling))[0][0].text
        print(f"\n{QUESTION} (asked by somebody who {world.describe(int(numbers[place]))})\n{said}")
    print(f"\n{QUESTION} (the base)\n{engine.generate(requests([QUESTION], None, sampling))[0][0].text}")
    engine.close()


if __name__ == "__main__":
    try:
        main()
    except TacitError as error:
        sys.exit(f"steer_qwen: {error}")
