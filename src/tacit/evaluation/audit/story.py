"""An audit in words that a product person can act on: what each number means, and what it does not."""

from collections.abc import Iterator

from tacit.evaluation.audit.minority import Minority, Moved
from tacit.evaluation.audit.render import Block, Bullets, Grid, Heading, Lead, Picture, Text, Warn
from tacit.evaluation.audit.report import Audit
from tacit.evaluation.audit.verdict import FEWEST, MOST_USERS, Estimate, Verdict

__all__ = ["gain_table", "sentence", "settle", "story", "warning"]

_WIDTH = 110


def story(audit: Audit) -> list[Block]:
    """The whole page, top to bottom."""
    return list(_blocks(audit))


def sentence(verdict: Verdict) -> str:
    """The verdict as one or two sentences."""
    v = verdict
    worth = f"{v.min_gain:g} {_unit(v.min_gain)} you asked for"
    after = f"After {_choices(v.k)} of a new user, predictions of what that user prefers are right"
    more = "more" if v.gain.mean >= 0 else "less"
    found = (
        f"{abs(v.gain.mean):.1f} points {more} often than with one model for everybody "
        f"(95 % interval {v.gain.low:+.1f} to {v.gain.high:+.1f})"
    )
    if v.answer == "pays":
        return f"Personalising pays. {after} {found}; all of that interval lies above the {worth}."
    if v.answer == "does not pay":
        return f"Personalising does not pay. {after} {found}; all of that interval lies below the {worth}."
    if v.leaking:
        return (
            f"Cannot tell whether personalising pays. {after} {found}, "
            "but much of what is gained does not come from knowing the user."
        )
    return f"Cannot tell yet whether personalising pays. {after} {found}; that interval does not clear the {worth}."


def settle(audit: Audit) -> str | None:
    """What data would settle an open verdict or measure more choices, or None where nothing is missing."""
    v, parts = audit.verdict, []
    if v.answer == "cannot tell" and not v.leaking:
        now = f"now {audit.data['users']}, of whom {v.gain.users} were tested at {_choices(v.k)}"
        if v.beyond:
            parts.append(
                f"More than {MOST_USERS:,} users ({now}) would be needed to settle it: the estimate lies too close to "
                f"{v.min_gain:g} {_unit(v.min_gain)}."
            )
        else:
            parts.append(
                f"About {v.users_needed:,} users ({now}) with as many choices each would settle it, if the average "
                "gain and its spread between users stay as they are; if they move, so does this number."
            )
        if v.gain.users < FEWEST:
            parts.append(f"Fewer than {FEWEST} tested users never get a verdict.")
    if audit.choices_for_ten is not None:
        parts.append(
            f"Most users have too few choices to measure what 10 would buy: that takes about {audit.choices_for_ten} "
            f"choices per user (the median is now {audit.data['choices_per_user']['median']:g}), because some of each "
            "user's choices are kept apart as questions."
        )
    return " ".join(parts) or None


def warning(audit: Audit) -> str | None:
    """What is wrong with the measurement itself, or None."""
    if not audit.verdict.leaking:
        return None
    return (
        f"Leaking: shown a stranger's choices, the personalised model still gains "
        f"{_points(audit.control[audit.verdict.k])} points over one model for everybody. So something other than the "
        "user's own taste helps it: look for texts that give the answer away (formatting, length, order), the same "
        "choices under several user ids, or a chance difference between two trained models (more repeats show it). "
        "Until that is found, this audit does not say that personalising pays."
    )


def gain_table(audit: Audit) -> Grid:
    """By number of choices: users, accuracies, gain, swap test, control."""
    header = (
        "choices seen", "users", "one model, % right", "personalised, % right", "gain, points", "swap test, points",
        "control, points",
    )  # fmt: skip
    rows = tuple(
        (
            str(k), str(audit.users[k]), f"{audit.level[k]['pooled']:.1f}", f"{audit.level[k]['model']:.1f}",
            _points(gain), _points(audit.swap[k]) if k else "", _points(audit.control[k]) if k else "",
        )
        for k, gain in audit.gain.items()
    )  # fmt: skip
    return Grid(header, rows)


def _blocks(audit: Audit) -> Iterator[Block]:
    yield Lead(sentence(audit.verdict))
    if found := warning(audit):
        yield Warn(found)
    if found := settle(audit):
        yield Text(found)
    yield Picture(f"Gain over one model for everybody, by choices seen. {sentence(audit.verdict)}")
    yield Heading("What personalising buys")
    yield gain_table(audit)
    yield Text(
        "A point is one more choice in a hundred predicted right. Brackets hold 95 % intervals over people. Rows can "
        "be about different people, because not everybody has that many choices."
    )
    yield Bullets(
        (
            "Gain: personalised minus one model for everybody, on the same questions to the same people.",
            "Swap test: own choices minus a stranger's choices shown to the same model. This is how much of people's "
            "disagreement the model can foresee. It says nothing about differences the texts do not show.",
            "Control: the model shown a stranger's choices, minus one model for everybody. Below zero is healthy.",
        )
    )
    yield Heading("How much your users disagree")
    yield from _disagreement(audit)
    yield Heading("What a typical minority wants")
    yield from _minority(audit.minority)
    yield Heading("How this was measured")
    yield from _method(audit)


def _disagreement(audit: Audit) -> Iterator[Block]:
    d, k = audit.disagreement, audit.verdict.k
    swap = audit.swap[k]
    tail = "so people differ in ways that their choices reveal" if swap.low > 0 else "which may be nothing"
    yield Text(
        f"Knowing a user's own {_choices(k)} instead of a stranger's is worth {_points(swap)} points, {tail}. "
        "Slips and close calls do not raise this number, they only hide differences. It is larger than the gain where "
        "a stranger's choices mislead."
    )
    if d is None:
        yield Text("No two people judged the same pair, so disagreement cannot be counted without a model.")
        return
    yield Grid(
        (f"{d.judgements:,} judgements of {d.pairs:,} pairs judged by two or more people", "%"),
        (
            ("judgements against the majority of their pair", f"{100 * d.losing:.1f}"),
            ("the same if everybody agreed and nobody slipped", "0.0"),
            ("the same if every judgement were a coin toss", f"{100 * d.losing_by_coin:.1f}"),
            ("two people contradict each other on the same pair (coin tosses: 50)", f"{100 * d.conflict:.1f}"),
        ),
    )
    yield Text(
        "Disagreement on a pair is not yet a difference of taste: people also slip, and close calls fall either way. "
        "It is not what personalising would gain. And with few judgements of a pair even coin tosses mostly side with "
        "its majority: compare the first line with the third."
    )


def _minority(minority: Minority | None) -> Iterator[Block]:
    if minority is None:
        yield Text(
            "None is shown: either the swap test does not tell people apart, so that whatever a model says of them may "
            "be chance, or no group has a fair size."
        )
        return
    m = minority
    yield Text(
        f"Of {m.people} people the model was not trained on, {100 * m.share:.0f} % fall into the smaller of two groups."
        + (
            " The two groups stand clearly apart."
            if m.clear
            else " The two groups shade into each other: think of a direction in which people differ, not of a type."
        )
        + " The model infers that typical members of it like some answers more, and some less, than an average user:"
    )
    for what, moved in (("they like more", m.rising), ("they like less", m.falling)):
        rows = tuple((_words(item), f"{item.shift:+.2f}", f"{100 * item.agreeing:.0f}") for item in moved)
        yield Grid((what, "shift", "members, %"), rows)
    yield Text(
        "These are inferences of a model, not statements of anybody. The shift is in units of reward (one unit turns "
        "an even choice into 73 to 27), against other answers to the same prompt; the last column is the share of "
        "typical members for whom it points that way. The answers that move most are shown, so their shifts look "
        "larger than they will prove to be."
    )


def _method(audit: Audit) -> Iterator[Block]:
    d = audit.data
    yield Text(
        f"{d['source']}: {d['users']:,} users, {d['choices']:,} choices, {d['prompts']:,} prompts, {d['items']:,} "
        + ("answers" + (f"; {d['skipped']:,} bad rows were skipped" if d.get("skipped") else ""))
        + f". In each of {d['repeats']} repeats users and prompts were divided anew. Both models learnt from the "
        "training users, stopped on the validation users, and were tested once on people, and on prompts, that neither "
        "had met. A person tested in several repeats counts once, with the average."
    )
    yield Text(
        f"The verdict was read at {_choices(audit.verdict.k)}, fixed from the numbers of users alone before any gain "
        f"was looked at. Intervals are over people like these, with models as they were trained here. Seed {d['seed']}."
    )


def _choices(k: int) -> str:
    return f"{k} choice" if k == 1 else f"{k} choices"


def _unit(number: float) -> str:
    return "point" if number == 1 else "points"


def _points(e: Estimate) -> str:
    return f"{e.mean:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"


def _words(moved: Moved) -> str:
    if moved.prompt is None or moved.response is None:
        return f"item {moved.item}"
    return f"{_short(moved.response, _WIDTH)} ({_short(moved.prompt, _WIDTH // 2)})"


def _short(text: str, width: int) -> str:
    """One line of at most `width` characters, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 3] + "..."
