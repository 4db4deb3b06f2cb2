import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tacit.embedders.windows import combine_windows, cut_windows, token_budget_batches

TOKENS = st.lists(st.integers(0, 99), max_size=40)


@given(TOKENS, TOKENS, st.integers(1, 12))
def test_windows_hold_the_whole_response_and_only_the_end_of_the_prompt(prompt, response, room):
    windows = cut_windows(prompt, response, room)
    joined = [token for ids, _ in windows for token in ids]
    kept = joined[: len(joined) - len(response)]
    assert joined[len(kept) :] == response
    assert kept == prompt[len(prompt) - len(kept) :]
    assert all(len(ids) <= room for ids, _ in windows)
    assert len(windows) == max(1, -(-len(response) // room)), "the prompt never costs a window"
    assert len(kept) == min(len(prompt), len(windows) * room - len(response)), "room is used"
    if response:
        assert sum(weight for _, weight in windows) == len(response)


def test_prompt_is_cut_from_the_left():
    assert cut_windows([1, 2, 3, 4], [8, 9], 4) == [([3, 4, 8, 9], 2)]


def test_long_response_gets_the_spare_room_of_its_first_window_for_the_prompt():
    assert cut_windows([1, 2, 3], [5, 6, 7, 8, 9], 3) == [([3, 5, 6], 2), ([7, 8, 9], 3)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 400))
def test_batches_partition_the_rows_within_the_budget(lengths, budget):
    lengths = np.array(lengths)
    batches = token_budget_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= budget


def test_batches_are_sorted_so_padding_is_small():
    lengths = np.random.default_rng(0).lognormal(4, 0.8, 1024).astype(int) + 1
    padded = sum(len(rows) * lengths[rows].max() for rows in token_budget_batches(lengths, 4096))
    unsorted = sum(len(rows) * rows.max() for rows in np.split(lengths, 32))
    assert padded < 1.15 * lengths.sum()
    assert padded < 0.4 * unsorted


def test_windows_combine_to_their_weighted_mean():
    pooled = np.array([[1, 0], [4, 4], [8, 8], [5, 1]], dtype=np.float32)
    combined = combine_windows(pooled, np.array([0, 1, 1, 2]), np.array([7, 3, 1, 2], dtype=np.float32), 3)
    np.testing.assert_allclose(combined, [[1, 0], [5, 5], [5, 1]])
    assert combined.dtype == np.float32
