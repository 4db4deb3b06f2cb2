"""`tacit generate`: an answer for the user of a profile, for nobody in particular, or for somebody in between."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.cli._options import BaseName, Device, PolicyFolder, Precision, Seed, find_policy
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import SkipBadRows
from tacit.cli._users import OfUser, OptionalProfile, check_profile
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
    skip_bad_rows: SkipBadRows = False,
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
    check_profile(profile, user)
    check_profile(toward)
    prompts = [(0, text) for text in prompt or ()]
    if messages is not None:
        prompts += _read_messages(messages, skip_bad_rows)
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
            asked = _answerable(prompts, engine.unfit([said for _, said in prompts], sampling), messages, skip_bad_rows)
            report.phase("answering")
            if best_of:
                read_with_base(loaded.reward, engine.base)
                ranked = ranked_answers(engine, [known], asked, sampling, z=who)
                answers = [{"responses": list(one.answers), "rewards": list(one.rewards)} for one in ranked]
            else:
                drawn = engine.generate(requests(asked, who, sampling))
                answers = [{"responses": [answer.text for answer in some]} for some in drawn]
    data = {"answers": [{"prompt": one, **said} for one, said in zip(asked, answers, strict=True)]}
    if out is not None:
        write_json(out, data)
    view: list[str] = []
    for one, said in zip(asked, answers, strict=True):
        shown = said["responses"][: 1 if best_of else None]
        view += [f"> {_shown(one)}"] if len(asked) > 1 else []
        view += [f"- {text}" if len(asked) * len(shown) > 1 else text for text in shown]
    return Result(data, [*view, *([] if out is None else [f"written: {out}"])])


def _read_messages(file: Path, skip_bad_rows: bool) -> list[tuple[int, Any]]:
    """(row, prompt) of a file: one JSON list of messages, an array of such, or one on each line."""
    from tacit.choices.conversation import Conversation
    from tacit.choices.dropping import stop_or_skip

    text = file.read_text(encoding="utf-8-sig")
    rows, bad = list[tuple[int, Any]](), list[tuple[int, str]]()
    try:
        found = json.loads(text)
        several = isinstance(found, list) and all(isinstance(one, list) for one in found)
        rows = list(enumerate(found if several else [found], 1))
    except ValueError:
        for number, line in enumerate(text.splitlines(), 1):
            try:
                rows += [(number, json.loads(line))] if line.strip() else []
            except ValueError as error:
                bad.append((number, f"not JSON ({error}); expected a list of messages on every line"))
    if not rows and not bad:
        raise ChoiceError(f"{file} holds no prompt; expected a list of messages, or one on every line")
    prompts = []
    for number, said in rows:
        prompt = said["messages"] if isinstance(said, Mapping) and "messages" in said else said
        try:
            Conversation.parse(prompt)
            prompts.append((number, prompt))
        except ChoiceError as error:
            bad.append((number, str(error)))
    stop_or_skip(str(file), bad, len(prompts) + len(bad), skip_bad_rows=skip_bad_rows)
    return prompts


def _answerable(
    prompts: Sequence[tuple[int, Any]], unfit: Mapping[int, str], file: Path | None, skip_bad_rows: bool
) -> list[Any]:
    """Prompts that leave room for an answer; others of the file (row > 0) are named, or skipped."""
    from tacit.choices.dropping import stop_or_skip

    for number, cause in unfit.items():
        if not prompts[number][0]:
            raise ChoiceError(cause)
    bad = [(prompts[number][0], cause) for number, cause in unfit.items()]
    stop_or_skip(str(file), bad, len(prompts), skip_bad_rows=skip_bad_rows)
    return [said for number, (_, said) in enumerate(prompts) if number not in unfit]


def _shown(prompt: Any) -> str:
    """A prompt's last words, for people."""
    from tacit.choices.conversation import Conversation

    return prompt if isinstance(prompt, str) else shorten(Conversation.parse(prompt).messages[-1].text)
