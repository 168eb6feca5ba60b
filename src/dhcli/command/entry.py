"""Running a verb and turning every way in which it can end into an exit code and lines on stderr.

The ways are: success, wrong usage, a refusal, a stdout that cannot be written, Ctrl-C, and a bug, which is a traceback
with a line that asks for a report.
"""

from __future__ import annotations

import contextlib
import io
import signal
import traceback
from collections.abc import Iterator, Sequence

import typer

from dhcli import __version__
from dhcli.command.streams import StdoutLostError, answer, discard_stdout, flush_stdout, open_standard_streams, say
from dhcli.command.wording import refusal
from dhcli.errors import BUG, CODES, FAILED, OK, RESULTS_LOST, TRY_LATER, DhError, ManifestError, as_dh_error, describe
from dhcli.events import Refused
from dhcli.runtime.early import end_now
from dhcli.runtime.environment import given_library_path
from dhcli.runtime.signals import end_during_native_calls
from dhcli.runtime.threads import spare_blas_threads

HELP = frozenset({"-h", "--help"})
NO_VERB = "Missing command."
"""Typer's message for `dh` or `dh models` alone. The help, which lists the verbs, is printed before it."""


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run the verb that `arguments` name. Returns its exit code, or that of the error which ended it."""
    open_standard_streams()
    spare_blas_threads()
    # The parent process may ignore SIGCHLD, which dh inherits. Then the exit codes of dh's children would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_during_native_calls()
    given_library_path()  # before OpenCV changes it
    code = _run(app, arguments)
    lost = flush_stdout()
    return _lost(lost) if lost is not None and code in {OK, FAILED} else code


def refused(error: DhError) -> Refused:
    """The event for a run that cannot start because of `error`."""
    problems = error.problems if isinstance(error, ManifestError) else (error.message,)
    return Refused(error.code, problems, error.hint, exit_code_of(error))


def exit_code_of(error: DhError) -> int:
    """The exit code of a call that ends with `error`: 75, "try again later", if the error is transient."""
    return TRY_LATER if error.info.transient else error.info.exit_code


def as_bug(error: Exception) -> DhError:
    """An unexpected exception as `internal.bug`; `env.limits` if a limit of the system kept dh from loading."""
    known = as_dh_error(error, "start")
    return known if known.code == "env.limits" else DhError("internal.bug", describe(error), stage="start")


def _run(app: typer.Typer, arguments: Sequence[str]) -> int:
    try:
        if arguments[:1] == ["--version"]:  # before typer builds its parser
            answer([f"dh {__version__}"])
            return OK
        with _interrupts_raised():
            return int(app(arguments, prog_name="dh", standalone_mode=False) or OK)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except DhError as error:
        say(refusal(refused(error)))
        return exit_code_of(error)
    except StdoutLostError as error:
        return _lost(error.reason)
    except SystemExit as end:
        if not end.code:  # a completion was answered or installed
            return OK
        discard_stdout()  # typer exits so if the reader of its help closes the pipe
        return RESULTS_LOST
    except KeyboardInterrupt:  # outside of the verb; inside, typer handles it
        return 130
    except Exception as error:  # noqa: BLE001 - the last place to turn a bug into an exit code
        if isinstance(error, OSError) and HELP & set(arguments):  # typer itself writes the help
            return _lost(error)
        known = as_bug(error)
        if known.code == "env.limits":
            say(refusal(refused(known)))
            return known.info.exit_code
        return _bug(error)


@contextlib.contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Inside of the block Ctrl-C raises KeyboardInterrupt, so that a verb can say what was done."""
    early = signal.getsignal(signal.SIGINT) is end_now
    if early:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if early:
            signal.signal(signal.SIGINT, end_now)


def _wrong_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dh"
    text = error.format_message().replace("Value error, ", "").removeprefix("Invalid value: ").strip()
    text = text.replace(":\n\t", " ").replace("\n\t", " ")  # choices, each on a line with a tab in front
    parameter = getattr(error, "param", None)
    if context is not None and parameter is not None:
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "ENVIRONMENT":  # the user set the variable, not the option
            text = text.replace(f"'{parameter.opts[0]}'", f"'{parameter.envvar}' in the environment")
    if context is not None and text == NO_VERB:
        say(_help(context).splitlines())
    say([*(f"{command}: {line}" for line in text.splitlines()), f"    Try '{command} --help'."])
    return error.exit_code


def _help(context: typer.Context) -> str:
    """The help as text, for stderr. Typer prints it to stdout, which is only for output that was asked for."""
    with contextlib.redirect_stdout(io.StringIO()) as page:
        unprinted = context.get_help()
    return page.getvalue() or unprinted


def _lost(reason: OSError) -> int:
    """Exit code for a stdout that cannot be written. Prints a line, except if the reader closed the pipe himself."""
    discard_stdout()
    if not isinstance(reason, BrokenPipeError):
        say([f"dh: stdout cannot be written: {reason.strerror}; what was asked for is not whole"])
    return RESULTS_LOST


def _bug(error: Exception) -> int:
    lines = "".join(traceback.format_exception(error)).splitlines()
    say([*lines, f"dh: {CODES['internal.bug'].meaning}, with the lines above: {describe(error)} [internal.bug]"])
    return BUG
