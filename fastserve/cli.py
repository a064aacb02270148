"""The entrances: `fastserve.run`, and the command line, which is derived from the option table."""

import contextlib
import logging
import os
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fastserve._version import __version__
from fastserve.compat import share_loggers
from fastserve.config import LOGGING_CONFIG, STARTUP_FAILURE
from fastserve.configuration_file import read_options
from fastserve.options import OPTIONS, Boolean, Flag, Group, Option
from fastserve.server.config import Config
from fastserve.server.server import Server
from fastserve.supervisor import pidfile
from fastserve.supervisor.notifying import NotifyingServer
from fastserve.supervisor.systemd import Notifier

logger = logging.getLogger("fastserve.error")


def run(app: Any, *, app_dir: str | None = None, **options: Any) -> None:
    """Serve `app` (an import string or the application) until the process is told to stop.

    `options` are those of `Config`. `app_dir` is put in front of `sys.path`. Exits with code 3 where serving could
    not start; raises TypeError and ValueError for options that make no sense.
    """
    if app_dir is not None:
        sys.path.insert(0, app_dir)
    _run(Config(app, **options), main_module=True)


def _run(config: Config, *, main_module: bool = False) -> None:
    share_loggers()
    with contextlib.ExitStack() as stack:
        if config.pid_file is not None:
            try:
                stack.enter_context(pidfile.held(config.pid_file))
            except OSError as error:
                logger.error(error)
                sys.exit(STARTUP_FAILURE)
        if config.reload or config.workers > 1 or config.supervise or config.preload:
            # Here rather than in every worker.
            config.check_certificates()
            _supervise(config, main_module)
        else:
            _run_server(config)


def _run_server(config: Config) -> None:
    # Imported here, where no loop runs yet: an application may use asyncio.run while it is imported.
    config.load_certificates()
    config.load_app()
    notifier = Notifier()
    server = NotifyingServer(config, notifier) if notifier.enabled else Server(config)
    with contextlib.closing(notifier), contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started and not server.should_exit:
        sys.exit(STARTUP_FAILURE)


def _supervise(config: Config, main_module: bool) -> None:
    if not isinstance(config.app, str):
        wanted = "'reload' or 'workers'" if config.reload else "'workers', 'supervise' or 'preload'"
        logger.warning("You must pass the application as an import string to enable %s.", wanted)
        sys.exit(STARTUP_FAILURE)
    # Only those who have workers, or reload, pay for it.
    from fastserve.supervisor.reloader import Reloader
    from fastserve.supervisor.supervisor import Supervisor

    code = (Reloader if config.reload else Supervisor)(config, main_module=main_module).run()
    if code:
        sys.exit(code)


if TYPE_CHECKING:
    # Generic for type checkers since click 8.2, plain at run time in the releases before.
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


_CHECK = "check"


class _Type(_ParamType):
    """A row's type, for click."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.type.metavar.lower()
        self.envvar_list_splitter = option.type.separator  # type: ignore[misc]  # click asks the instance

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.option.parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class _Switch(click.Option):
    """A flag whose variable is a word for on or off. click 8.2 takes any text for on, `0` too."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return click.Parameter.resolve_envvar_value(self, ctx)


class _Command(click.Command):
    """A command whose help shows the options under the headings of the table.

    It serves, or checks where its first argument is `check`. That is no application (there is no colon in it), so no
    name is taken away; alone it is one that cannot be found, as under uvicorn.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if len(args) > 1 and args[0] == _CHECK:
            ctx.meta[_CHECK] = True
            ctx.info_name = f"{ctx.info_name} {_CHECK}"
            args = args[1:]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[Group, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = OPTIONS.get(parameter.name or "")
            if row is not None and not row.name:
                record: tuple[str, str] | None = (row.type.metavar, row.description)
            else:
                record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(row.group if row is not None else "Other", []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _read_file(ctx: click.Context, param: click.Parameter, path: str | None) -> str:
    """Make the configuration file's values the defaults of the command line; returns the file's name."""
    if ctx.resilient_parsing:
        return ""
    try:
        name, options = read_options(path)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None
    # As text: click takes the value None for one that is not there.
    ctx.default_map = {param: "none" if value is None else value for param, value in options.items()}
    return name


def _sources(ctx: click.Context) -> dict[str, str]:
    """Where the value of each option comes from: its switch, a variable, the configuration file or `default`."""
    sources = {}
    for row in OPTIONS.values():
        source = ctx.get_parameter_source(row.param)
        if source is click.core.ParameterSource.COMMANDLINE:
            sources[row.param] = row.name or "command line"
        elif source is click.core.ParameterSource.ENVIRONMENT:
            sources[row.param] = next(variable for variable in row.variables if os.environ.get(variable))
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            sources[row.param] = ctx.params["config"]
        else:
            sources[row.param] = "default"
    return sources


def _parameter(row: Option) -> click.Parameter:
    variables = list(row.variables)
    if not row.name:
        return click.Argument([row.param], envvar=variables, type=_Type(row), metavar=row.type.metavar)
    switch = row.name
    if isinstance(row.type, Flag):
        return _Switch(
            [f"{switch}/{row.type.off}" if row.type.off else switch, row.param],
            is_flag=True, default=row.default, envvar=variables, help=row.description, hidden=row.hidden,
            show_default=row.default is not None,
        )  # fmt: skip
    reads_file = row.param == "config"
    return click.Option(
        [switch, row.param],
        # click's own words for a boolean, as uvicorn has them.
        type=click.BOOL if isinstance(row.type, Boolean) else _Type(row),
        is_eager=reads_file, callback=_read_file if reads_file else None,
        multiple=row.multiple, default=None if row.multiple else row.default, envvar=variables,
        help=row.description, metavar=row.type.metavar, hidden=row.hidden,
        show_default=not row.multiple and row.default not in (None, ""),
    )  # fmt: skip


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Running fastserve {__version__} with {python} on {platform.system()}")
        ctx.exit()


def _serve(app: str, app_dir: str, config: str, **values: Any) -> None:
    ctx = click.get_current_context()
    sys.path.insert(0, app_dir)
    if values["log_config"] is None:
        values["log_config"] = LOGGING_CONFIG
    try:
        configuration = Config(app, **values)
    except (ValueError, ImportError) as error:
        raise click.UsageError(str(error), ctx) from None
    if _CHECK in ctx.meta:
        # Only those who check pay for it.
        from fastserve.check import check

        ctx.exit(check(configuration, app_dir, _sources(ctx)))
    _run(configuration)


def _command(callback: Callable[..., None]) -> click.Command:
    version = click.Option(
        ["--version"], is_flag=True, callback=_print_version, expose_value=False, is_eager=True,
        help="Show the version and exit.",
    )  # fmt: skip
    return _Command(
        "fastserve",
        callback=callback,
        params=[*(_parameter(row) for row in OPTIONS.values() if row.command_line), version],
        help="Serve the ASGI or WSGI application APP over HTTP. Each option is also read from FASTSERVE_<OPTION>, else "
        "from UVICORN_<OPTION> if uvicorn has it, else from the configuration file.\n\n"
        "'fastserve check APP' with the same options says whether the server would start, and what each option is.",
    )


main = _command(_serve)
