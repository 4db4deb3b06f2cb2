import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.choices import Choice, ChoiceTable
from tacit.errors import ChoiceError

CHOICES = [
    Choice.pair("ann", "p", "a", "b"),
    Choice.pair("bob", "q", "a", "c", tie=True),
    Choice("ann", "q", ("c", "a", "d"), (0, 1, 1), weight=0.5, timestamp=12.0),
    Choice.pair("cy", "p", "b", "a"),
    Choice.pair("cy", "p", "c", "a"),
]

words = st.sampled_from(["a", "b", "c", "dé", " x", "0"])


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    texts = draw(st.lists(words, min_size=2, max_size=4, unique=True))
    steps = draw(st.lists(st.integers(0, 1), min_size=len(texts) - 1, max_size=len(texts) - 1))
    time = draw(st.none() | st.floats(0, 1e9))
    rank = tuple(np.cumsum([0, *steps]).tolist())
    return Choice(draw(words), draw(words), tuple(texts), rank, draw(st.sampled_from([0.25, 1.0, 2.0])), time)


@given(st.lists(choices(), min_size=1, max_size=30))
def test_a_table_gives_back_its_choices(given_choices: list[Choice]) -> None:
    table = ChoiceTable.from_choices(given_choices)
    assert list(table) == given_choices
    assert len(set(table.item_texts())) == table.n_items  # each item once
    assert table.n_users == len({c.user_id for c in given_choices})


@given(st.lists(choices(), min_size=1, max_size=30))
def test_index_follows_the_group_rule(given_choices: list[Choice]) -> None:
    table = ChoiceTable.from_choices(given_choices)
    index = table.index()
    assert (index.user.diff() >= 0).all()
    for i, row in enumerate(index.row.tolist()):
        choice = given_choices[row]
        assert table.users[int(index.user[i])].as_py() == choice.user_id
        prompts = {c.prompt for c in given_choices if c.user_id == choice.user_id}
        real = index.rank[i] >= 0
        items = index.items[i][real]
        assert tuple(table.item(int(j))[1] for j in items) == choice.responses
        if len(prompts) == 1:
            assert torch.equal(index.group[i][real], items + table.n_prompts)
            assert (index.group[i][~real] == index.group[i][0]).all()
        else:
            assert (index.group[i] == table.prompts.to_pylist().index(choice.prompt)).all()


def test_one_text_under_two_prompts_is_two_items() -> None:
    table = ChoiceTable.from_choices(CHOICES)
    assert table.n_items == 6
    assert {("p", "a"), ("q", "a")} <= set(table.item_texts())


def test_index_has_the_contract_dtypes_and_unknown_times() -> None:
    index = ChoiceTable.from_choices(CHOICES).index()
    assert {t.dtype for t in (index.user, index.items, index.rank, index.group)} == {torch.int64}
    assert (index.weight.dtype, index.timestamp.dtype) == (torch.float32, torch.float64)
    assert index.timestamp.isnan().sum() == 4
    assert index.weight.sum() == 4.5
    assert index.rank[0].tolist() == [0, 1, -1]


def test_selecting_keeps_item_ids_and_user_numbers() -> None:
    table = ChoiceTable.from_choices(CHOICES)
    part = table.select(np.array([False, True, True, False, False]))
    assert list(part) == CHOICES[1:3]
    assert part.n_users == 3
    assert part.item_texts() == table.item_texts()
    assert part.index().counts.tolist() == [1, 1, 0]
    with pytest.raises(ChoiceError, match=r"mask Bool\[5\]; found int64\[2\]"):
        table.select(np.array([0, 1]))


def test_of_users_renumbers_in_the_given_order() -> None:
    table = ChoiceTable.from_choices(CHOICES)
    part = table.of_users(torch.tensor([2, 0]))
    assert part.users.to_pylist() == ["cy", "ann"]
    assert list(part) == [CHOICES[0], CHOICES[2], CHOICES[3], CHOICES[4]]
    for users in ([0, 0], [3], [-1]):
        with pytest.raises(ChoiceError, match="distinct user numbers"):
            table.of_users(users)


def test_describe_counts_what_is_in_use() -> None:
    summary = ChoiceTable.from_choices(CHOICES).of_users([1, 2]).describe()
    assert {k: summary[k] for k in ("users", "choices", "items", "prompts", "ties", "rankings")} == {
        "users": 2, "choices": 3, "items": 5, "prompts": 2, "ties": 1, "rankings": 0,
    }  # fmt: skip
    assert summary["choices_per_user"]["median"] == 1.5


@pytest.mark.parametrize(
    ("choice", "cause"),
    [
        (Choice("u", "p", ("a",), (0,)), "1 responses with 1 ranks"),
        (Choice("u", "p", ("a", "b"), (0,)), "2 responses with 1 ranks"),
        (Choice("u", "p", ("a", "b"), (1, 0)), "from 0"),
        (Choice("u", "p", ("a", "b"), (0, 2)), "steps of 0"),
        (Choice("u", "p", ("a", "a"), (0, 1)), "twice"),
        (Choice("u", " ", ("a", "b"), (0, 1)), "blank"),
        (Choice("u", "p", ("a", "\ud800"), (0, 1)), "surrogate"),
        (Choice("u", "p", ("a", "b"), (0, 1), weight=0.0), "weight 0.0"),
        (Choice("u", "p", ("a", "b"), (0, 1), timestamp=float("nan")), "timestamp nan"),
    ],
)
def test_malformed_choices_are_refused(choice: Choice, cause: str) -> None:
    with pytest.raises(ChoiceError, match=f"choice 2 is malformed: .*{cause}"):
        ChoiceTable.from_choices([CHOICES[0], choice])


def test_no_choices_is_an_error() -> None:
    with pytest.raises(ChoiceError, match="holds no choices"):
        ChoiceTable.from_choices([])
