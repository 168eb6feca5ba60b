"""How any call of `dh` ends: an exit code and, at most, lines on stderr. Nobody ever sees a bare traceback.

It owns the edge to the shell: wrong usage, refusals, a stdout that is lost, bugs. It knows no verb.
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
"""What typer says of `dh` or `dh models` alone: the verbs are the answer."""


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Call the verb that `arguments` name; its exit code, or the one for what kept it from its end."""
    open_standard_streams()
    spare_blas_threads()
    # Whoever started us may ignore it, which is inherited: the kernel would then keep the exit codes of our children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_during_native_calls()
    given_library_path()  # before OpenCV changes it
    code = _run(app, arguments)
    lost = flush_stdout()
    return _lost(lost) if lost is not None and code in {OK, FAILED} else code


def refused(error: DhError) -> Refused:
    """The error as the event of a run that cannot start."""
    problems = error.problems if isinstance(error, ManifestError) else (error.message,)
    return Refused(error.code, problems, error.hint, exit_code_of(error))


def exit_code_of(error: DhError) -> int:
    """Of a call that ends with it: what another attempt may find mended is a reason to try again later."""
    return TRY_LATER if error.info.transient else error.info.exit_code


def as_bug(error: Exception) -> DhError:
    """What nobody foresaw as `internal.bug`; too few descriptors to load dh are `env.limits`."""
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
    except SystemExit:  # typer's own way out when the reader of its help has gone
        discard_stdout()
        return RESULTS_LOST
    except KeyboardInterrupt:  # before typer could take it
        return 130
    except Exception as error:  # noqa: BLE001 - the last place that can turn a bug into an exit code
        if isinstance(error, OSError) and HELP & set(arguments):  # the help is written by typer
            return _lost(error)
        known = as_bug(error)
        if known.code == "env.limits":
            say(refusal(refused(known)))
            return known.info.exit_code
        return _bug(error)


@contextlib.contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt while the block lasts, so that a verb can say what was done."""
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
    parameter = getattr(error, "param", None)
    if context is not None and parameter is not None:
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "ENVIRONMENT":  # nobody has written the option that it stands for
            text = text.replace(f"'{parameter.opts[0]}'", f"'{parameter.envvar}' in the environment")
    if context is not None and text == NO_VERB:
        say(_help(context).splitlines())
    say([*(f"{command}: {line}" for line in text.splitlines()), f"    Try '{command} --help'."])
    return error.exit_code


def _help(context: typer.Context) -> str:
    """The help as text: typer itself would print it on stdout, where only what was asked for may be."""
    with contextlib.redirect_stdout(io.StringIO()) as page:
        unprinted = context.get_help()
    return page.getvalue() or unprinted


def _lost(reason: OSError) -> int:
    """Stdout could not be written. Who closed a pipe knows it; a full disk must be told."""
    discard_stdout()
    if not isinstance(reason, BrokenPipeError):
        say([f"dh: stdout cannot be written: {reason.strerror}; what was asked for is not whole"])
    return RESULTS_LOST


def _bug(error: Exception) -> int:
    lines = "".join(traceback.format_exception(error)).splitlines()
    say([*lines, f"dh: {CODES['internal.bug'].meaning}, with the lines above: {describe(error)} [internal.bug]"])
    return BUG
