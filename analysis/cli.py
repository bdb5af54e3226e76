"""The `multires` command. It imports torch and the rest only once it knows what to do, so that --help is quick."""

import os
import sys
from typing import Annotated

import tyro
from tyro.conf import CascadeSubcommandArgs, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from analysis.commands.audit import Audit
from analysis.commands.bench import Bench
from analysis.commands.data import Data
from analysis.commands.evaluate import Evaluate
from analysis.commands.figures import Figures
from analysis.commands.probe import Probe
from analysis.commands.report import Report
from analysis.commands.resolutions import REGISTRY
from analysis.commands.study import Study
from analysis.commands.train import Train
from analysis.commands.verify import Verify
from multires.errors import MultiresError

Command = (
    Annotated[Verify, subcommand("verify")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Figures, subcommand("figures")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Probe, subcommand("probe")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Audit, subcommand("audit")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Bench, subcommand("bench")]
)


def parse(arguments: list[str] | None = None) -> Command:
    """The command that the arguments name; exits with 2 where they name none."""
    return tyro.cli(
        Command,
        prog="multires",
        description="Checks, with evidence anyone can rerun, what the theory of multi-resolution U-Nets claims.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes, CascadeSubcommandArgs),
        registry=REGISTRY,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 a claim is not supported, 2 the call was wrong, 130 stopped."""
    try:
        code = parse(arguments).run()
        sys.stdout.flush()
    except MultiresError as error:
        print(f"multires: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as stop:
        print(f"multires: {str(stop) or 'stopped; nothing was written'}", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader went away: say nothing, as other commands do
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)
