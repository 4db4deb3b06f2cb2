"""`tacit generate`: an answer for the user of a profile, for nobody in particular, or for somebody in between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.cli._models import find_policy
from tacit.cli._options import BaseName, Device, PolicyFolder, Precision, Seed
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._users import OfUser, OptionalProfile
from tacit.errors import ChoiceError, ConfigError
from tacit.files import write_json

__all__ = ["EXAMPLE", "generate"]

EXAMPLE = 'tacit generate policy/ --prompt "How do I repot a cactus?" --profile profile.json'


def generate(
    policy: PolicyFolder,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="What to answer; repeatable.")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option("--messages", metavar="FILE", help="A JSON list of messages; or JSON Lines, one prompt a line."),
    ] = None,
    profile: OptionalProfile = None,
    user: OfUser = None,
    toward: Annotated[
        Path | None, typer.Option("--toward", metavar="PROFILE.json", help="A second user to lean towards.")
    ] = None,
    mix: Annotated[
        float | None, typer.Option("--mix", metavar="SHARE", help="How far towards them: 0 is not, 1 is all the way.")
    ] = None,
    unsteered: Annotated[bool, typer.Option("--unsteered", help="What the base says, without any policy.")] = False,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="Answers to each prompt.")] = 1,
    best_of: Annotated[
        int | None,
        typer.Option("--best-of", min=1, metavar="N", help="Write N answers; show the best by the user's own reward."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="The longest answer.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 = always the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens of this probability.")] = 1.0,
    within_base: Annotated[
        bool,
        typer.Option("--within-base", help="With --top-p: only tokens that the base could draw too; half as fast."),
    ] = False,
    base: BaseName = None,
    device: Device = None,
    dtype: Precision = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="JSON file for the answers.")] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Answer prompts as one user wants, from a profile of a few choices."""
    if (toward is None) != (mix is None):
        raise ConfigError("--toward PROFILE.json and --mix SHARE belong together; give both or neither")
    if unsteered and (toward or (profile and not best_of)):
        raise ConfigError("--unsteered takes no profile but for --best-of; leave one of them out")
    if best_of and (toward or samples > 1):
        raise ConfigError("--best-of ranks its own answers by one user's reward; leave --toward and --samples out")
    if not 0 < top_p <= 1:
        raise ConfigError(f"--top-p {top_p} is outside (0, 1]")
    if within_base and (top_p == 1 or temperature == 0):
        raise ConfigError("--within-base limits what is drawn; give --top-p below 1, and a temperature above 0")
    if not prompt and messages is None:
        raise ConfigError("nothing to answer; give --prompt TEXT or --messages FILE")
    if out is not None:
        prepare_file(out, own="answers", overwrite=overwrite)
    folder = find_policy(policy)
    prompts = [*(prompt or ()), *(() if messages is None else _read_messages(messages))]
    for file in (profile, toward):
        if file is not None:
            file.stat()
    with progress(f"loading {policy}") as report:
        from tacit.engines import Sampling, open_engine, requests
        from tacit.policies import best_of as ranked_answers
        from tacit.policies import read_with_base
        from tacit.steering import SteerablePolicy

        sampling = Sampling(
            max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, within_base=within_base,
            samples=best_of or samples, seed=seed,
        )  # fmt: skip
        loaded = SteerablePolicy.load(folder)
        known = loaded.reward.load_user(profile, user) if profile else loaded.reward.user()
        z = loaded.latents(known.state)
        if toward is not None and mix is not None:
            z = loaded.mix(known.state, loaded.reward.load_user(toward).state, mix)
        who = None if unsteered else z
        with open_engine(loaded, base=base, device=device, dtype=dtype) as engine:
            report.phase("answering")
            if best_of:
                read_with_base(loaded.reward, engine.base)
                ranked = ranked_answers(engine, [known], prompts, sampling, z=who)
                answers = [{"responses": list(one.answers), "rewards": list(one.rewards)} for one in ranked]
            else:
                drawn = engine.generate(requests(prompts, who, sampling))
                answers = [{"responses": [answer.text for answer in some]} for some in drawn]
    data = {"answers": [{"prompt": asked, **said} for asked, said in zip(prompts, answers, strict=True)]}
    if out is not None:
        write_json(out, data)
    view: list[str] = []
    for asked, said in zip(prompts, answers, strict=True):
        shown = said["responses"][: 1 if best_of else None]
        view += [f"> {_shown(asked)}"] if len(prompts) > 1 else []
        view += [f"- {text}" if len(prompts) * len(shown) > 1 else text for text in shown]
    return Result(data, [*view, *([] if out is None else [f"written: {out}"])])


def _read_messages(file: Path) -> list[Any]:
    """The prompts of a file: one as a JSON list of messages, or one on each line, checked to be conversations."""
    text = file.read_text(encoding="utf-8-sig")
    try:
        found = [(str(file), json.loads(text))]
    except ValueError:
        lines = [(f"{file}: line {n}", line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        found = [(name, _json(name, line)) for name, line in lines]
    if len(found) == 1 and isinstance(found[0][1], list) and all(isinstance(one, list) for one in found[0][1]):
        found = [(f"{file}: prompt {number}", one) for number, one in enumerate(found[0][1], 1)]
    from tacit.choices.conversation import Conversation

    if not found:
        raise ChoiceError(f"{file} holds no prompt; expected a list of messages, or one on every line")
    prompts = []
    for name, said in found:
        prompts.append(said["messages"] if isinstance(said, Mapping) and "messages" in said else said)
        try:
            Conversation.parse(prompts[-1])
        except ChoiceError as error:
            raise ChoiceError(f"{name}: {error}") from None
    return prompts


def _json(name: str, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ChoiceError(f"{name}: not JSON ({error}); expected a list of messages on every line") from None


def _shown(prompt: Any) -> str:
    """A prompt's last words, for people."""
    from tacit.choices.conversation import Conversation

    return prompt if isinstance(prompt, str) else shorten(Conversation.parse(prompt).messages[-1].text)
