"""`tacit generate`: an answer for the user of a profile, for nobody in particular, or for somebody in between."""

from pathlib import Path
from typing import Annotated

import typer

from tacit.cli._options import Seed
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.errors import ConfigError
from tacit.files import write_json
from tacit.policies import Sampling, SteerablePolicy
from tacit.policies.policy import User
from tacit.users.profiles import read_profile

__all__ = ["EXAMPLE", "generate"]

EXAMPLE = 'tacit generate policy/ --prompt "How do I repot a cactus?" --profile profile.json'


def generate(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Folder of `tacit train-policy`.")],
    prompt: Annotated[list[str], typer.Option("--prompt", metavar="TEXT", help="What to answer; repeatable.")],
    profile: Annotated[
        Path | None, typer.Option("--profile", metavar="PROFILE.json", help="From `tacit infer`; default: a stranger.")
    ] = None,
    toward: Annotated[
        Path | None, typer.Option("--toward", metavar="PROFILE.json", help="A second user to lean towards.")
    ] = None,
    mix: Annotated[
        float | None, typer.Option("--mix", metavar="SHARE", help="How far towards them: 0 is not, 1 is all the way.")
    ] = None,
    unsteered: Annotated[bool, typer.Option("--unsteered", help="What the base says, without any policy.")] = False,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="Answers to each prompt.")] = 1,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="The longest answer.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 = always the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens of this probability.")] = 1.0,
    within_base: Annotated[
        bool,
        typer.Option("--within-base", help="With --top-p: only tokens that the base could draw too; half as fast."),
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="The base, where it is not under its old name.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...; default: what there is.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Precision of the base.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="JSON file for the answers.")] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Answer prompts as one user wants, from a profile of a few choices."""
    if (toward is None) != (mix is None):
        raise ConfigError("--toward PROFILE.json and --mix SHARE belong together; give both or neither")
    if unsteered and (profile or toward):
        raise ConfigError("--unsteered takes no profile; leave one of them out")
    if not 0 < top_p <= 1:
        raise ConfigError(f"--top-p {top_p} is outside (0, 1]")
    if within_base and (top_p == 1 or temperature == 0):
        raise ConfigError("--within-base limits what is drawn; give --top-p below 1, and a temperature above 0")
    if out is not None:
        prepare_file(out, own="answers", overwrite=overwrite)
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, within_base=within_base,
        samples=samples, seed=seed,
    )  # fmt: skip
    with progress(f"loading {policy}") as report:
        loaded = SteerablePolicy.load(policy, base=base, device=device, dtype=dtype)
        user: User | None = None
        if not unsteered:
            user = read_profile(profile)[1] if profile else loaded.reward.prior()
            if toward is not None and mix is not None:
                user = loaded.mix(user, read_profile(toward)[1], mix)
        report.phase("answering")
        answers = loaded.generate(prompt, user, sampling)
    data = {"answers": [{"prompt": p, "responses": texts} for p, texts in zip(prompt, answers, strict=True)]}
    if out is not None:
        write_json(out, data)
    several = len(prompt) * samples > 1
    view: list[str] = []
    for p, texts in zip(prompt, answers, strict=True):
        view += [f"> {p}"] if len(prompt) > 1 else []
        view += [f"- {text}" if several else text for text in texts]
    return Result(data, [*view, *([] if out is None else [f"written: {out}"])])
