"""What every benchmark shares."""

import pytest

from _report import parser


def test_a_device_that_is_not_here_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser("").parse_args(["--device", "cuda:99"])
    assert ended.value.code == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("argument --device: no device 'cuda:99' here; expected cpu or an accelerator that is present")
    )


def test_a_device_that_is_here_is_taken_by_its_name() -> None:
    assert parser("").parse_args([]).device == "cpu"
    assert parser("").parse_args(["--device", "cpu:0"]).device == "cpu:0"
