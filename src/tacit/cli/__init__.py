"""The `tacit` command line: one module per verb, imported only when that verb is asked for.

Verb `train-reward` is the module `tacit.cli.train_reward`, which holds

    EXAMPLE = "tacit train-reward data.jsonl --out model/"        shown under --help
    def train_reward(data: ..., seed: Seed = 0) -> Result: ...    typer-annotated parameters, a docstring

plus its line in `VERBS`. The function parses nothing, prints nothing and never exits: it calls the library, returns a
`Result` and lets errors rise. The scaffold adds `--json` and `-v`, prints the result, and turns every error into one
line on stderr and an exit code: 2 bad input, 1 a fault of ours, 130 interrupted. `TACIT_DEBUG=1` shows tracebacks.

Shared parts: `_options` (Seed, Out), `_result`, `_config` (--config, --set, --print-config), `_paths`, `_progress`.
"""

from collections.abc import Sequence

__all__ = ["VERBS", "main"]

# Name and one-line help of every verb, kept here so that `tacit --help` imports none of them.
VERBS = {
    "demo": "The whole story on a simulated world: minutes, CPU, no data needed.",
    "synthetic": "The paper's one-dimensional experiment against the Bayes-optimal line.",
    "import": "Any log of preferences as choices of our own form, with a report.",
    "embed": "Embed every item of a preference file once, into a store.",
    "train-reward": "Train a reward model that adapts to a user from a few choices.",
    "evaluate": "Accuracy and calibration by number of choices, with controls.",
    "audit": "Do my users disagree, and does personalising pay?",
    "benchmark": "Every method on every dataset under one protocol, with controls.",
    "infer": "Infer profiles from choices: of one user, or of all users of a log.",
    "add": "Add choices to a profile.",
    "explain": "What a user likes more and less than the population does.",
    "score": "Score answers for the user of a profile.",
    "train-policy": "Train a language model that a few choices steer.",
    "generate": "Answers for the user of a profile.",
    "export": "One user's policy as an ordinary LoRA folder.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: the process's own) and return the exit code."""
    from tacit.cli._app import own_process, run

    if argv is None:
        import sys

        own_process()
        argv = sys.argv[1:]
    return run(argv)
