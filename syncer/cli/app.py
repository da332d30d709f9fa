"""The command group, its global options, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from syncer import __version__
from syncer.errors import ConfigError, SyncerError

if TYPE_CHECKING:
    from syncer.config import Config

#: command -> (module, one line for `syncer --help`); modules are imported when their command runs
COMMANDS = {
    "demo": ("demo", "See it work: sample database, local sandbox, full and incremental sync."),
    "init": ("init", "Look at a database and write a commented config for it."),
    "check": ("check", "Validate the config, then look at databases, keys, types and schedules."),
    "preview": ("preview", "Print the exact request bodies a mapping would send."),
    "plan": ("plan", "What a run would send, take and cost. Sends and writes nothing."),
    "run": ("run", "Sync mappings once, now."),
    "serve": ("serve", "Run mappings on their schedules until stopped."),
    "status": ("status", "Per mapping: last run, watermark, lag, next run, dead letters."),
    "runs": ("status", "The history of runs with their counts."),
    "trace": ("trace", "Why a row is not, or differently, in the warehouse."),
    "dead-letters": ("dead_letters", "What was refused and why: list, show, retry, discard."),
    "state": ("state", "Inspect and edit checkpoints: show, set, reset, export, copy."),
    "sandbox": ("sandbox", "A local Objects API that merges objects into a SQLite warehouse."),
    "schema": ("schema", "Print the JSON Schema of the config file."),
}


class _Commands(click.Group):
    """Loads a command's module when it is called for, so that `syncer --help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"syncer.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f"syncer {near[0]}" if near else "syncer --help"
            raise click.UsageError(f"there is no command {name!r}\nTry: {hint}")
        return super().resolve_command(ctx, args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """The options before the command."""

    config_file: str | None
    log_format: str
    verbose: bool

    def load(self) -> Config:
        """Find and load the config file; sets up logging on the way."""
        from syncer.config import find_config, load_config

        self.set_up_logging()
        return load_config(find_config(self.config_file, os.environ, Path.cwd()), os.environ)

    def set_up_logging(self) -> None:
        """Log to standard error as asked."""
        from syncer.observe.logs import set_up_logging

        set_up_logging(style=self.log_format, verbose=self.verbose)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `syncer demo`: it needs no account and no database.",
)
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="Config file. [$SYNCER_CONFIG, syncer.yaml, config.yaml]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines as text or JSON.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more, and show tracebacks.")
@click.version_option(__version__, prog_name="syncer")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None, log_format: str, verbose: bool) -> None:
    """Keeps Segment collections equal to the results of your SQL queries."""
    ctx.obj = Globals(config_file=config_file, log_format=log_format, verbose=verbose)


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. Errors are told on standard error, as `Error:` and `Try:`."""
    try:
        result: Any = cli.main(list(arguments), prog_name="syncer", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _usage_error(error)
    except SyncerError as error:
        _tell(error, verbose=_verbose(arguments))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return 130
    except Exception as error:
        if _verbose(arguments):
            raise
        click.echo(f"Error: unexpected {type(error).__name__}", err=True)
        click.echo("Try: run it again with -v, and report what it shows", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _verbose(arguments: Sequence[str]) -> bool:
    return "-v" in arguments or "--verbose" in arguments


def _usage_error(error: click.ClickException) -> int:
    message = error.format_message()
    told, _, hint = message.partition("\nTry: ")
    if not hint:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path if context else 'syncer'} --help"
    click.echo(f"Error: {told}\nTry: {hint}", err=True)
    return 2


def _tell(error: SyncerError, *, verbose: bool) -> None:
    if verbose:
        import traceback

        traceback.print_exception(error)
    click.echo(f"Error: {error}", err=True)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
            if problem.hint:
                click.echo(f"    Try: {problem.hint}", err=True)
    click.echo(f"Try: {error.hint or _fallback(error)}", err=True)


def _fallback(error: SyncerError) -> str:
    return "correct the file, then run `syncer check --offline`" if isinstance(error, ConfigError) else "syncer check"
