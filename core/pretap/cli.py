"""The command line ``pretap``: a click group that imports a command only when it runs."""

from __future__ import annotations

import sys

try:  # Ctrl-C in the 20 ms before `main` ends quietly too
    import errno
    import importlib
    import io
    import os
    import traceback
    from typing import NoReturn

    import click
    from click.shell_completion import CompletionItem

    from pretap import __version__
    from pretap.errors import MissingPackageError, PretapError
    from pretap.spelling import did_you_mean
    from pretap.terminal import plain, say
except KeyboardInterrupt:
    sys.exit(130)

# task: name: (module and object of the click command, its line in `pretap --help`)
_TASKS = {
    "Try it": {
        "demo": ("pretap_realtime.check.demo:demo", "Train, replay and decode live. Needs no data."),
        "doctor": ("pretap_realtime.check.doctor:doctor", "Check this machine: packages, LSL, clock and engines."),
        "config": ("pretap.config.command:config", "Print a shipped recipe, or the settings of serve."),
        "streams": ("pretap_realtime.check.streams:streams", "List the LSL streams on the network."),
    },
    "Your own head": {
        "record": ("pretap_realtime.record.command:record", "Record LSL streams into an XDF file."),
        "markers": ("pretap_realtime.check.markers:markers", "List the markers of a recording or of a live stream."),
        "train": ("pretap_offline.command:train", "Train and cross-validate a decoder and write its bundle."),
        "evaluate": (
            "pretap_offline.command:evaluate",
            "Score a bundle on labelled trials, or predict unlabelled ones.",
        ),
    },
    "Live": {
        "serve": ("pretap_realtime.serve.command:serve", "Decode a live LSL stream."),
        "monitor": ("pretap_realtime.monitor.command:monitor", "Watch a service in the browser and play its game."),
        "replay": ("pretap_realtime.replay.command:replay", "Play a recording as a live LSL stream."),
    },
    "Study": {
        "compare": ("pretap_offline.lab.command:compare", "Compare recipes on the same folds, with their uncertainty."),
        "sweep": ("pretap_offline.lab.command:sweep", "Search for a recipe and estimate what the search is worth."),
        "tune": ("pretap_realtime.score.tune:tune", "Tune the decision policy on a labelled recording."),
        "score": ("pretap_realtime.score.command:score", "Run the live pipeline over a file."),
        "verify": ("pretap_realtime.check.verify:verify", "Verify that live decisions equal offline evaluation."),
        "inspect": ("pretap.bundle.inspect:inspect", "Describe a bundle and run its self-test."),
        "latency": ("pretap_realtime.latency.command:latency", "Measure the time from a sample to its decision."),
        "simulate": ("pretap_offline.synthetic.command:simulate", "Write a synthetic subject's recording or trials."),
    },
}
_COMMANDS = {name: place for commands in _TASKS.values() for name, (place, _) in commands.items()}

_COMPLETION = "_PRETAP_COMPLETE"  # set by a shell that asks for completions, see click.shell_completion

# Import names of the packages in each extra.
_EXTRAS = {
    "offline": {"joblib", "matplotlib", "mne", "pooch", "scipy", "sklearn", "skorch", "tomli_w", "torch"},
    "lab": {"distributed", "optuna", "pyriemann"},
    "monitor": {"starlette", "uvicorn", "websockets"},
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (name in _COMMANDS or name.startswith("-") or ctx.resilient_parsing):
            ctx.fail(f"No such command {name!r}.{did_you_mean(name, _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command without importing any, or an option."""
        lines = {name: line for commands in _TASKS.values() for name, (_, line) in commands.items()}
        commands = [CompletionItem(name, help=line) for name, line in lines.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, _COMMANDS))
        for task, commands in _TASKS.items():
            with formatter.section(task):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in commands.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="pretap")
def pretap() -> None:
    """Decode which hand is about to move from the last 500 ms of EEG.

    Start with `pretap demo`. Research software, not a medical device.
    """


def main() -> NoReturn:
    """Run the command line and exit with the code of the failure, see `pretap.errors`."""
    if _COMPLETION in os.environ:
        pretap.main(prog_name="pretap")  # answers the shell, and exits
    try:
        code = pretap.main(standalone_mode=False)
        if sys.stdout is not None:  # None if it was closed when the process started
            sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):  # Abort: click's name for Ctrl-C
        say("Interrupted.", err=True)
        code = 130
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue().rstrip("\n"), err=True)
        code = error.exit_code
    except PretapError as error:
        say(f"Error: {plain(str(error))}", err=True)
        code = error.exit_code
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        extra = next((extra for extra, packages in _EXTRAS.items() if missing in packages), None)
        if extra is None:
            raise
        hint = MissingPackageError.for_extra("This command", missing=missing, extra=extra)
        say(f"Error: {hint}", err=True)
        code = hint.exit_code
    except (BrokenPipeError, SystemExit):  # `pretap ... | head`: the reader has gone, so stay silent
        sys.stderr.close()  # SystemExit: click saw the broken pipe first; pretap itself never raises it
        code = 141
    except Exception as error:  # noqa: BLE001 - the last resort: anything that gets here is a bug
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # except this, such as `pretap ... > FILE`
            say("Error: the disk is full. Free some space, and run the command again.", err=True)
            code = 2
        else:
            traceback.print_exc()
            say("Error: this is a bug in pretap; please report the lines above.", err=True)
            code = 1
    sys.exit(code if isinstance(code, int) else 0)
