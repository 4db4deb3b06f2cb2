"""Whole audits of planted tables, and the pages they become."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from audit_problems import QUICK, opposed, vectors_of

from tacit.errors import ConfigError
from tacit.evaluation.audit import Audit, Estimate, audit, check_settings, decide, plan_audit, write_audit
from tacit.evaluation.audit.measuring import measure
from tacit.evaluation.audit.report import because, headline, sentence, settle, warning
from tacit.evaluation.audit.run import _people
from tacit.events import Event


@pytest.fixture(scope="module")
def pays() -> Audit:
    table = opposed(differ=True)
    return audit(table, vectors_of(table), repeats=2, **QUICK)


@pytest.fixture(scope="module")
def same() -> Audit:
    table = opposed(differ=False)
    return audit(table, vectors_of(table), repeats=2, **QUICK)


def test_opposed_people_pay(pays: Audit) -> None:
    assert pays.verdict.answer == "pays"
    assert pays.verdict.gain.mean > 15
    assert pays.swap[pays.verdict.k].low > 15
    assert not pays.verdict.leaking
    assert abs(pays.gain[0].mean) < 10
    assert pays.disagreement is not None
    assert pays.disagreement.conflict == pytest.approx(0.5, abs=0.03)
    assert pays.minority is not None
    responses = [[str(item.response)[:5] for item in items] for items in (pays.minority.rising, pays.minority.falling)]
    assert sorted({tuple(set(words)) for words in responses}) == [("long ",), ("short",)]


def test_people_of_one_mind_never_pay(same: Audit) -> None:
    assert same.verdict.answer != "pays"
    assert same.verdict.gain.mean < 1
    assert same.minority is None  # nobody can be told apart, so nothing is said of anybody
    assert same.disagreement is not None
    assert same.disagreement.conflict == pytest.approx(2 * 0.1 * 0.9, abs=0.03)


def test_one_seed_fixes_everything(pays: Audit) -> None:
    table = opposed(differ=True)
    before = torch.get_rng_state()
    again = audit(table, vectors_of(table), repeats=2, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.to_json() == pays.to_json()


def test_choices_are_traced_to_the_people_who_made_them() -> None:
    table = opposed(differ=True)
    for task in plan_audit(table, repeats=2):
        for part in (task.train, task.validation, task.test):
            who = _people(table, part.index)
            assert len(set(who.tolist())) == part.index.n_users
            rows = part.index.row.numpy()
            assert (table.items[rows] == part.index.items.numpy()).all()
            assert (table.user[rows] == who[part.index.user].numpy()).all()


def test_repeats_test_other_people() -> None:
    table = opposed(differ=True)
    a, b = (set(_people(table, task.test.index).tolist()) for task in plan_audit(table, repeats=2))
    assert a != b


def test_short_users_are_told_how_many_choices_ten_would_take() -> None:
    table = opposed(differ=True, choices=8)
    found = audit(table, vectors_of(table), repeats=1, **QUICK)
    assert found.verdict.k in (3, 5)
    assert found.choices_for_ten is not None
    assert 11 <= found.choices_for_ten <= 20
    assert f"about {found.choices_for_ten} choices per user (the median is now 8)" in str(settle(found))


def test_metrics_hold_every_run(pays: Audit) -> None:
    assert {event["name"] for event in pays.metrics} == {f"{n} {i}/2" for n in ("reward", "pooled") for i in (1, 2)}


# The pages


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_says_the_verdict_first(pays: Audit, tmp_path: Path) -> None:
    written = write_audit(pays, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    page = Page((tmp_path / "audit.html").read_text())
    outside = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert len(outside) == 1
    assert str(outside[0]).startswith("data:image/png;base64,iVBOR")
    assert sentence(pays.verdict).startswith("Personalising pays. After 10 choices of a new user")
    body = page.text.split("}\n")[-1]
    places = [body.index(said) for said in (headline(pays.verdict), because(pays.verdict), "What personalising buys")]
    assert places == sorted(places)
    data = json.loads((tmp_path / "audit.json").read_text())
    assert data["verdict"]["answer"] == "pays"
    assert data["gain"]["10"]["low"] <= data["gain"]["10"]["mean"] <= data["gain"]["10"]["high"]
    markdown = (tmp_path / "audit.md").read_text()
    assert "(audit.png)" in markdown
    tables = [part.splitlines() for part in markdown.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:  # a text's own bars must not make cells
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_texts_of_users_cannot_become_part_of_a_page(pays: Audit, tmp_path: Path) -> None:
    assert pays.minority is not None
    evil = replace(
        pays.minority.rising[0], prompt="a|b\n# x\x1b[31m", response="<script>alert('x')</script><img src=x>"
    )
    hostile = replace(
        pays, minority=replace(pays.minority, rising=(evil,)), data={**pays.data, "source": "<b>&amp;.jsonl"}
    )
    write_audit(hostile, tmp_path)
    page = (tmp_path / "audit.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page
    assert {tag for tag, _ in Page(page).tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "img", "table", "thead", "tbody",
        "tr", "th", "td", "small",
    }  # fmt: skip
    assert sum(tag == "img" for tag, _ in Page(page).tags) == 1
    assert "<b>&amp;amp;" not in page
    markdown = (tmp_path / "audit.md").read_text()
    assert "<script" not in markdown.replace(r"\<", "")
    assert r"a\|b \# x \[31m" in markdown
    assert "\x1b" not in page + markdown


def test_a_leak_is_a_warning_on_every_page(pays: Audit, tmp_path: Path) -> None:
    assert warning(pays) is None
    k = pays.verdict.k
    control = Estimate(3.0, 2.0, 4.0, 5.0, 60)
    verdict = decide(pays.gain[k], control, k=k, min_gain=1.0, users=120)
    leaking = replace(pays, verdict=verdict, control={**pays.control, k: control})
    assert "does not come from knowing the user" in sentence(verdict)
    write_audit(leaking, tmp_path)
    for name in ("audit.html", "audit.md"):
        text = (tmp_path / name).read_text()
        assert "Leaking: shown a stranger" in Page(text).text
        assert "Personalising pays." not in text


def test_an_open_verdict_says_what_would_settle_it(same: Audit) -> None:
    gain = Estimate(1.5, -1.0, 4.0, 12.0, 60)
    verdict = decide(gain, Estimate(-1.0, -2.0, 0.0, 5.0, 60), k=10, min_gain=1.0, users=120)
    text = str(settle(replace(same, verdict=verdict)))
    assert f"About {verdict.users_needed:,} users (now 120, of whom 60 were tested at 10 choices)" in text
    level = decide(replace(gain, mean=1.0), Estimate(-1.0, -2.0, 0.0, 5.0, 60), k=10, min_gain=1.0, users=120)
    assert "More than 1,000,000 users" in str(settle(replace(same, verdict=level)))


@pytest.mark.parametrize(
    "wrong",
    [{"min_gain": -1.0}, {"min_gain": float("nan")}, {"repeats": 0}, {"ks": (0,)}, {"ks": (-1, 3)}],
    ids=["below 0", "NaN", "no repeats", "only k 0", "k below 0"],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        check_settings(**({"min_gain": 1.0, "repeats": 3} | wrong))  # type: ignore[arg-type]


def test_two_views_of_the_items_are_tried_and_the_better_is_asked() -> None:
    """With more numbers per item than components; validation decides for each model."""
    table = opposed(differ=True)
    noise = torch.randn(table.n_items, 40, generator=torch.Generator().manual_seed(0))
    vectors = torch.cat([vectors_of(table), noise], dim=1)
    ends: dict[str, float] = {}

    def listen(event: Event) -> None:
        if event["event"] == "validation":
            ends[event["name"]] = min(event["nll"], ends.get(event["name"], 9.0))

    task = replace(plan_audit(table, repeats=1)[0], vectors=vectors)
    trial = measure(task, ks=(0, 3), seed=0, on_event=listen, **QUICK)
    assert set(ends) == {"pooled", "pooled, 32 components", "reward", "reward, 32 components"}
    better = min(("reward", "reward, 32 components"), key=ends.__getitem__)
    assert trial.model.network.config.principal == (None if better == "reward" else 32)
    assert trial.model.notes["validation_nll"] == ends[better]
