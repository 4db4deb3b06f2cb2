"""Saved files of every schema that is still read: people's folders outlive the code that wrote them."""

import json
from pathlib import Path

import pytest
from kept.make import BOOK, HERE, KINDS, newest

EXPECTED = json.loads(BOOK.read_text())
SMALL = 8192


@pytest.mark.parametrize("name", EXPECTED)
def test_a_kept_file_is_read_and_says_what_it_said(name: str) -> None:
    said = KINDS[name.partition("-")[0]].say(HERE / name)
    assert said.keys() == EXPECTED[name].keys()
    for key, value in said.items():
        expected = EXPECTED[name][key]
        assert value == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-5)), key


@pytest.mark.parametrize("kind", KINDS)
def test_the_present_schema_has_an_example(kind: str) -> None:
    assert newest(kind).name in EXPECTED, "a schema has a new number: run tests/kept/make.py, and read the old one too"


@pytest.mark.parametrize("name", EXPECTED)
def test_examples_are_small_and_name_no_place(name: str) -> None:
    place = HERE / name
    files = [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]
    assert sum(file.stat().st_size for file in files) <= SMALL
    assert not any(str(Path.home()).encode() in file.read_bytes() for file in files)
