"""From arguments to an exit code: build the typer app, import the asked verb only, render errors as one line."""

import inspect
import keyword
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Annotated, Any

import typer

import tacit
from tacit.cli import VERBS
from tacit.cli._errors import describe
from tacit.cli._paths import keeping_places
from tacit.cli._progress import logging_to_stderr
from tacit.cli._result import Result

__all__ = ["build_app", "own_process", "run"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more to stderr; twice for debugging.")]


def own_process() -> None:
    """Settings for a process that is the command line's own; libraries read them when they are first imported."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MPLBACKEND", "Agg")
    if not sys.warnoptions and not debugging():
        warnings.simplefilter("ignore")


def debugging() -> bool:
    """True where the user asked for tracebacks."""
    return os.environ.get("TACIT_DEBUG", "0") not in ("", "0")


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one line `tacit VERB: message` on stderr."""
    verb = argv[0] if argv and argv[0] in VERBS else None
    name = f"tacit {verb}" if verb else "tacit"
    try:
        # typer returns the code of --help and --version, and 130 for Ctrl-C inside a verb; a verb itself returns None.
        code = build_app(verb)(args=list(argv) or ["--help"], prog_name="tacit", standalone_mode=False) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our stdout has gone (`tacit ... | head`): stay quiet, also when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debugging():
            traceback.print_exc()
        line, code = describe(error, command=name)
        print(f"{name}: {line}", file=sys.stderr)
    if code == 130:
        print(f"{name}: interrupted", file=sys.stderr)
    return code


def build_app(asked: str | None) -> typer.Typer:
    """The typer app in which only the verb `asked` is real; the others stand there with their one-line help."""
    app = typer.Typer(
        help="Infer what one user wants from a handful of choices, and score answers for that user.",
        epilog="Start with: tacit demo",
        add_completion=False,
        rich_markup_mode="rich",
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
        ] = False,
    ) -> None:
        pass

    for name, summary in VERBS.items():
        if name == asked:
            stem = name.replace("-", "_") + "_" * keyword.iskeyword(name)
            module = import_module(f"tacit.cli.{stem}")
            # Escaped, because typer reads square brackets in help as markup.
            example = module.EXAMPLE.replace("[", r"\[")
            app.command(name, epilog=f"Example: {example}")(_command(getattr(module, stem)))
        else:
            app.command(name, help=summary)(_unreached)
    return app


def _unreached() -> None:
    raise AssertionError("only the asked verb is ever invoked")


def _show_version(shown: bool) -> None:
    if shown:
        print(f"tacit {tacit.__version__}")
        raise typer.Exit


def _command(function: Callable[..., Result]) -> Callable[..., None]:
    """What typer calls for a verb: its own parameters plus --json and -v; prints the `Result` it returns."""

    def command(*, as_json: bool, verbose: int, **arguments: Any) -> None:
        with logging_to_stderr(verbose), keeping_places():
            if as_json:
                # Whatever a library prints must not end up in the JSON.
                with redirect_stdout(sys.stderr):
                    text = function(**arguments).json()
                print(text)
            else:
                function(**arguments).show()

    only = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.signature(function, eval_str=True)
    parameters = [
        *signature.parameters.values(),
        inspect.Parameter("as_json", only, default=False, annotation=AsJson),
        inspect.Parameter("verbose", only, default=0, annotation=Verbose),
    ]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__name__ = getattr(function, "__name__", "command")
    command.__doc__ = function.__doc__
    return command
