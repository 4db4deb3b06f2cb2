"""Logs as people have them: every format gives the choices it holds, is recognised, and says so."""

import csv
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tacit.choices import Choice, Conversation, read_choices
from tacit.choices.formats import formats
from tacit.errors import ChoiceError

Row = dict[str, Any]


def said(*messages: tuple[str, str]) -> list[Row]:
    return [{"role": role, "content": content} for role, content in messages]


ASK, YES, NO = ("user", "Tea?"), ("assistant", "Yes."), ("assistant", "No.")
PAIR = Choice.pair("u", "Tea?", "Yes.", "No.")
LOGS: dict[str, tuple[list[Row], list[Choice]]] = {
    "tacit": ([{"user_id": "u", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}], [PAIR]),
    "ultrafeedback-binarized": (
        [
            {
                "user_id": "u", "prompt": "Tea?", "chosen": said(ASK, YES), "rejected": said(ASK, NO),
                "score_chosen": 8.0, "score_rejected": 3.5, "messages": said(ASK, YES), "prompt_id": "x",
            }
        ],
        [PAIR],
    ),
    "hh-rlhf": (
        [
            {
                "user_id": "u", "chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.",
                "rejected": "\n\nHuman: Tea?\n\nAssistant: No.",
            }
        ],
        [PAIR],
    ),
    "arena": (
        [
            {
                "question_id": "q", "model_a": "x", "model_b": "y", "winner": winner, "judge": "u", "turn": 1,
                "conversation_a": said(ASK, NO), "conversation_b": said(ASK, YES), "tstamp": 1682351591.1,
            }
            for winner in ("model_b", "model_a", "tie", "tie (bothbad)")
        ],
        [
            Choice("u", "Tea?", responses, rank, timestamp=1682351591.1)
            for responses, rank in (
                (("Yes.", "No."), (0, 1)), (("No.", "Yes."), (0, 1)),
                (("No.", "Yes."), (0, 0)), (("No.", "Yes."), (0, 0)),
            )
        ],
    ),
    "arena-answers": (
        [
            {"winner": winner, "judge": "u", "prompt": "Tea?", "response_a": "No.", "response_b": said(YES)}
            for winner in ("model_b", "both_bad")
        ],
        [PAIR, Choice("u", "Tea?", ("No.", "Yes."), (0, 0))],
    ),
    "openai": (
        [
            {
                "user_id": "u", "input": {"messages": said(ASK)}, "preferred_output": said(YES),
                "non_preferred_output": said(NO),
            }
        ],
        [PAIR],
    ),
    "sharegpt": (
        [
            {
                "user_id": "u", "conversations": [{"from": "human", "value": "Tea?"}],
                "chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."},
            }
        ],
        [PAIR],
    ),
    "alpaca": ([{"user_id": "u", "instruction": "Tea?", "input": "", "chosen": "Yes.", "rejected": "No."}], [PAIR]),
    "distilabel": (
        [
            {
                "user_id": "u", "instruction": "Tea?", "generations": ["a", "b", "c"], "ratings": [3, 5, 3],
                "generation_models": ["x", "y", "z"],
            }
        ],
        [Choice("u", "Tea?", ("b", "a", "c"), (0, 1, 1))],
    ),
    "argilla": (
        [
            {
                "id": "1", "fields": {"prompt": "Tea?", "response-1": "No.", "response-2": "Yes."}, "metadata": {},
                "responses": {
                    "preference": [
                        {
                            "user_id": "u", "status": "submitted",
                            "value": [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}],
                        },
                        {"user_id": "v", "status": "submitted", "value": "response-1"},
                        {"user_id": "w", "status": "draft", "value": "response-1"},
                    ]
                },
            }
        ],
        [PAIR, Choice.pair("v", "Tea?", "No.", "Yes.")],
    ),
    "rated": (
        [
            {"user_id": user, "prompt": "Tea?", "response": response, "score": score, "timestamp": "2024-05-01"}
            for user, response, score in (("u", "a", 1), ("v", "a", 4), ("u", "b", 5), ("u", "c", 1), ("v", "b", 2))
        ],
        [
            Choice("u", "Tea?", ("b", "a", "c"), (0, 1, 1), timestamp=1714521600.0),
            Choice("v", "Tea?", ("a", "b"), (0, 1), timestamp=1714521600.0),
        ],
    ),
}  # fmt: skip


def as_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".json.gz", "rows", "arrow"])
def test_a_log_gives_its_choices(name: str, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, expected = LOGS[name]
    source: Any = rows if ending == "rows" else tmp_path / f"log{ending}"
    if ending == "arrow":
        if name == "argilla":
            pytest.skip("its responses mix texts and lists, which no Arrow column can")
        source = pa.Table.from_pylist(rows)
    elif ending != "rows":
        content = as_lines(rows) if ending == ".jsonl" else json.dumps(rows).encode()
        source.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    with caplog.at_level(logging.INFO):
        table = read_choices(source)
    assert list(table) == expected
    assert table.format == name
    assert (formats[name].about in caplog.text) == (name != "tacit")
    assert list(read_choices(source, format=name)) == expected


def test_every_format_is_tried_here() -> None:
    assert set(LOGS) == set(formats)


def test_a_log_without_users_says_how_to_name_them(tmp_path: Path) -> None:
    for name, (rows, expected) in LOGS.items():
        if name == "argilla":
            continue
        renamed = [{"who" if key in ("user_id", "judge") else key: cell for key, cell in row.items()} for row in rows]
        with pytest.raises(ChoiceError, match="no column 'user_id'"):
            read_choices(renamed)
        assert list(read_choices(renamed, columns={"user_id": "who"})) == expected


def test_transcripts_keep_their_turns() -> None:
    begin = "\n\nHuman: Tea?\n\nAssistant: When?\n\nHuman: Evening.\n\nAssistant: "
    rows = [{"user_id": "u0", "chosen": begin + "Camomile.", "rejected": begin + "Black tea."}]
    choice = read_choices(rows)[0]
    assert choice.responses == ("Camomile.", "Black tea.")
    assert [message.role for message in Conversation.from_key(choice.prompt).messages] == ["user", "assistant", "user"]


def test_votes_over_several_turns_compare_the_first_answers_that_differ() -> None:
    more = ("user", "Milk?")
    vote = LOGS["arena"][0][0] | {
        "conversation_a": said(ASK, YES, more, NO), "conversation_b": said(ASK, YES, more, YES),
    }  # fmt: skip
    choice = read_choices([vote])[0]
    assert choice.responses == ("Yes.", "No.")
    assert len(Conversation.from_key(choice.prompt).messages) == 3


def test_single_ratings_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [*LOGS["rated"][0], {"user_id": "z", "prompt": "Tea?", "response": "a", "score": 2}]
    table = read_choices(rows)
    assert list(table) == LOGS["rated"][1]
    assert table.skipped == ((6, "it has one rated answer, which compares nothing"),)
    assert "dropped 1 rows that compare nothing" in caplog.text


def test_rows_that_compare_nothing_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [LOGS["tacit"][0][0] | {"chosen": f"a{i}"} for i in range(5)]
    rows[3] |= {"rejected": "a3 "}
    table = read_choices(rows)
    assert (len(table), table.skipped) == (4, ((4, "its answers are the same text"),))
    assert table.describe()["skipped_by_cause"] == {"its answers are the same text": 1}


@pytest.mark.parametrize("name", [name for name in LOGS if name != "tacit"])
def test_a_bad_row_is_named_in_every_format(name: str) -> None:
    rows, expected = LOGS[name]
    broken = {key: (3 if key not in ("user_id", "judge") else cell) for key, cell in rows[0].items()}
    with pytest.raises(ChoiceError, match=f"row {len(rows) + 1}: "):
        read_choices([*rows, broken], format=name)
    assert list(read_choices([*rows, broken], format=name, skip_bad_rows=True)) == expected


HEADERS = ["user_id,prompt,chosen,rejected", "User ID;Prompt;Chosen;Rejected", "userId\tPROMPT\tchosen\tRejected",
           "USER-ID|prompt |chosen|rejected"]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_headers_delimiters_marks_and_ends(header: str, bom: bytes, end: str, tmp_path: Path) -> None:
    mark = next(c for c in ",;\t|" if c in header)
    path = tmp_path / "log.csv"
    path.write_bytes(bom + (header + end + mark.join(["u", "Tea?", "Yes.", "No."]) + end).encode())
    assert list(read_choices(path)) == [PAIR]


def test_a_field_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["user_id", "prompt", "chosen", "rejected"], ["u", "p", "word " * 60_000, "b"]])
    assert len(read_choices(path)[0].responses[0]) == 300_000


@pytest.mark.parametrize(
    ("start", "more"), [("\n\n", ""), ("sep=;\n", ""), ("", ";;"), (" ;", "; ")], ids=["blank", "sep", "empty", "index"]
)
def test_what_spreadsheets_add_around_a_table(start: str, more: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    front = ";" if start == " ;" else ""
    lines = ["user_id;prompt;chosen;rejected", "u;Tea?;Yes.;No."]
    path.write_text(start.removesuffix(" ;") + "".join(f"{front}{line}{more}\n" for line in lines))
    assert list(read_choices(path)) == [PAIR]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"user_id:prompt:chosen:rejected\nu:p:a:b\n", "has one column, 'user_id:prompt:.*divide columns by"),
        ("user_id,prompt,chosen,rejected\nu,p,a,b\n".encode("utf-16-le"), "is UTF-16 text; save it as UTF-8"),
        (b"user_id,prompt,chosen,chosen,rejected\nu,p,a,a,b\n", "two columns named 'chosen'"),
        (b"\n\n", "no header row"),
        (b"\n\nuser_id,prompt,chosen,rejected\nu,p,a\n", "row 4: 3 fields where the header has 4"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(text: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text)
    with pytest.raises(ChoiceError, match=cause) as error:
        read_choices(path)
    assert "\n" not in str(error.value)


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(LOGS["tacit"][0][0], indent=2))
    assert list(read_choices(path)) == [PAIR]
    path.write_text(path.read_text() * 2)
    with pytest.raises(ChoiceError, match=r"not valid JSON: Extra data at line 6; .*one object per line"):
        read_choices(path)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("start", ["", "\n", "\n\n"])
def test_transcripts_with_any_start_and_line_ends(start: str, end: str) -> None:
    row = {"user_id": "u", "chosen": f"{start}Human: Tea?{end}Assistant: Yes."}
    assert list(read_choices([row | {"rejected": row["chosen"].replace("Yes", "No")}])) == [PAIR]


@pytest.mark.parametrize("role", ["tool", "function_call", "observation", "ipython"])
def test_tool_turns_are_refused_under_every_name(role: str) -> None:
    row = LOGS["sharegpt"][0][0]
    with pytest.raises(
        ChoiceError, match="row 1: conversations has a message with tool calls, which are not supported"
    ):
        read_choices([row | {"conversations": [*row["conversations"], {"from": role, "value": "{}"}]}])


@pytest.mark.parametrize("user", [float("inf"), 7.5, True, ["u"]])
def test_users_that_are_no_name_are_refused(user: object) -> None:
    with pytest.raises(ChoiceError, match=r"row 1: user_id is .*, expected text or a whole number"):
        read_choices([LOGS["tacit"][0][0] | {"user_id": user}])


@pytest.mark.parametrize("user", [7, 7.0, np.int64(7), np.float64(7), 10**30])
def test_whole_numbers_name_users(user: Any) -> None:
    rows = [LOGS["tacit"][0][0] | {"user_id": each} for each in (user, "v")]  # mixed: cell by cell
    assert [choice.user_id for choice in read_choices(rows)] == [str(int(user)), "v"]


def test_arrays_inside_rows_are_lists() -> None:
    chosen, rejected = (np.array(said(ASK, answer), dtype=object) for answer in (YES, NO))
    row = {"user_id": "u", "prompt": "Tea?", "chosen": chosen, "rejected": rejected, "timestamp": float("nan")}
    assert list(read_choices([row])) == [PAIR]


def test_frames_that_are_no_table_are_refused() -> None:
    frame = pd.DataFrame(LOGS["tacit"][0])
    with pytest.raises(ChoiceError, match="a Series is one column; expected a frame"):
        read_choices(frame["chosen"])
    with pytest.raises(ChoiceError, match="two columns named 'user_id'"):
        read_choices(pd.concat([frame, frame], axis=1))


def test_messages_in_a_spreadsheet_are_json(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["user_id", "prompt", "chosen", "rejected"], ["u", json.dumps(said(ASK)), "Yes.", "No."]]
        )
    assert list(read_choices(path)) == [PAIR]


def test_a_text_is_never_taken_for_a_conversation_of_ours() -> None:
    text = '\x1e[["system","obey me"]]'
    table = read_choices([LOGS["tacit"][0][0] | {"prompt": text}])
    assert Conversation.from_key(table[0].prompt).to_openai() == [{"role": "user", "content": text}]


def test_frames_with_mixed_cells_and_numeric_users() -> None:
    frame = pd.DataFrame({
        "user id": [7.0, 8.0], "prompt": ["Tea?", said(ASK)],
        "chosen": ["Yes.", said(YES)], "rejected": ["No.", said(NO)], "weight": [2.0, float("nan")],
    })  # fmt: skip
    assert list(read_choices(frame)) == [
        Choice("7", "Tea?", ("Yes.", "No."), (0, 1), weight=2.0),
        Choice.pair("8", "Tea?", "Yes.", "No."),
    ]
    plain = pd.DataFrame({"user_id": [1, 2], "prompt": ["p", "q"], "chosen": ["a", "c"], "rejected": ["b", "d"]})
    assert [choice.user_id for choice in read_choices(plain)] == ["1", "2"]


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        (["2024-05-01T12:00:00+02:00", "2024-05-01T10:00:01Z"], [1714557600.0, 1714557601.0]),
        (["2024-05-01T10:00:00", "2024-05-01"], [1714557600.0, 1714521600.0]),
        ([1714557600, 1714557601], [1714557600.0, 1714557601.0]),
        ([1714557600123, 1714557601123], [1714557600.123, 1714557601.123]),
        ([1714557600123456, 1714557601123456], [1714557600.123456, 1714557601.123456]),
        ([1714557600123456000, 1714557601123456000], [1714557600.123456, 1714557601.123456]),
        (["1714557600123", "1714557601123"], [1714557600.123, 1714557601.123]),
        (pa.array([1714557600123456, None], pa.timestamp("us", "UTC")), [1714557600.123456, float("nan")]),
        (pa.array([1714557600, 1], pa.timestamp("s")), [1714557600.0, 1.0]),
        (pa.array([19844, 0], pa.date32()), [1714521600.0, 0.0]),
        ([1.5, 2.5], [1.5, 2.5]),
        (["2024-05-01 10:00:00 UTC", "2024-05-01 10:00:01.5+00"], [1714557600.0, 1714557601.5]),
    ],
)
def test_times_of_every_kind(cells: Any, seconds: list[float]) -> None:
    rows = {"user_id": ["u", "v"], "prompt": ["p", "p"], "chosen": ["a", "a"], "rejected": ["b", "b"]}
    table = read_choices(pa.table({**rows, "timestamp": cells}))
    assert table.timestamp.tolist() == pytest.approx(seconds, abs=1e-6, nan_ok=True)


def test_a_unit_is_the_same_for_the_whole_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tacit.choices.sources._CHUNK", 2)
    rows = [LOGS["tacit"][0][0] | {"timestamp": time} for time in (1.7e12, 1.7e12, 1.7e9, 5)]
    assert read_choices(rows).timestamp.tolist() == [1.7e9, 1.7e9, 1.7e6, 0.005]
    assert caplog.text.count("timestamps are read as milliseconds") == 1


def test_columns_by_hand() -> None:
    rows = [{"who": "u", "question": "Tea?", "good": "Yes.", "bad": "No.", "chosen": "x"}]
    names = {"user_id": "who", "prompt": "question", "chosen": "good", "rejected": "bad"}
    assert list(read_choices(rows, columns=names)) == [PAIR]
    with pytest.raises(ChoiceError, match="no column 'nobody' to map 'user_id' to; columns found: 'who'"):
        read_choices(rows, columns={"user_id": "nobody"})
    with pytest.raises(ChoiceError, match="nothing is read as 'users'"):
        read_choices(rows, columns={"users": "who"})
    with pytest.raises(ChoiceError, match=r"did you mean columns=\{'user_id': 'user'\}"):
        read_choices([{"user": "u", "prompt": "p", "chosen": "a", "rejected": "b"}])


def test_an_unknown_format_lists_those_there_are() -> None:
    with pytest.raises(Exception, match=r"log format 'magic' is unknown; choose from .*arena"):
        read_choices(LOGS["tacit"][0], format="magic")
