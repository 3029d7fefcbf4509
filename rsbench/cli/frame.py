"""What all commands share: groups of options, examples, completion of names, -v and -q."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ParameterInfo

from rsbench.cli.examples import EXAMPLES
from rsbench.core.progress import Detail, set_detail

PANELS: Mapping[str, str] = {
    "Data": "recipe provider regions years labels exclude lock data protocol window split context "
    "horizon region also from_store",
    "Model": "model preset option checkpoint members citation",
    "Training": "budget batch_size augment ema labelled_fraction label_seed learning_rate "
    "optimizer schedule early_stopping patience validations log",
    "Computing": "seed device devices precision channels_last compiled tf32 workers scheduler "
    "parts finalise batch_samples yes dry_run allow_incomplete fresh_references",
    "Metrics": "suite metrics metric lead rows",
    "Values of the files": "unit scale offset nodata value_range offset_from mask mask_valid",
    "Dates, bands and grid of the files": "bands rgb dates dates_in_file step composite layout crs "
    "gsd region_size split_by variables origin_tolerance",
    "Coarse images": "coarse_unit coarse_scale coarse_offset coarse_nodata coarse_value_range "
    "coarse_bands coarse_gsd coarse_resampling",
    "Choice of dates": "clear coarse_clear correlation shift",
    "Output": "out store release format form keep_predictions force older_than remove as_json "
    "junit summary write "
    "overwrite zoom no_error width latex markdown csv bibtex methods caption label best "
    "no_interval linked published",
    "Messages": "verbose quiet",
}
"""Heading of the help → names of parameters; others stand below ``Options``."""
GROUPS: Mapping[str, str] = {
    "Data": "build-dataset download import-dataset inspect validate add-texts export lock",
    "Models": "models train run score export-task synthesize contract weights demo",
    "Results": "check compare report table figure",
    "Lists": "metrics recipes protocols labels regions",
    "This installation": "doctor cache",
}
"""Heading of the help → names of commands; others stand below ``Further commands``."""
_PANEL = {name: panel for panel, names in PANELS.items() for name in names.split()}
_GROUP = {name: group for group, names in GROUPS.items() for name in names.split()}

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print times, and messages of libraries.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]


class Command(TyperCommand):
    """A command whose help has its options in groups, and examples below them.

    Its options are read from its function on first use: a list of all commands needs none.
    """

    def __init__(self, function: Callable[..., Any], **named: Any) -> None:
        self._function: Callable[..., Any] | None = None
        super().__init__(**named)
        self._function = function

    @property
    def params(self) -> list[Any]:
        """Arguments and options; with them the callback that takes them."""
        if self._function is not None:
            alone = typer.Typer(add_completion=False)
            alone.command()(_framed(self._function))
            self._function, whole = None, typer.main.get_command(alone)
            self._params, self.callback = whole.params, whole.callback
        return self._params

    @params.setter
    def params(self, params: list[Any]) -> None:
        self._params = params

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and options group by group."""
        found: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                own = "Arguments" if param.param_type_name == "argument" else "Options"
                own = "Messages" if param.name == "help" else own
                panel = getattr(param, "rich_help_panel", None) or own
                found.setdefault(panel, []).append(record)
        order = ["Arguments", "Options", *PANELS]
        for panel in sorted(found, key=lambda p: order.index(p) if p in order else len(order)):
            with formatter.section(panel):
                formatter.write_dl(found[panel])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples; their lines are not wrapped, so that they can be copied."""
        words = ctx.command_path.partition(" ")[2]
        with formatter.section("Examples"):
            for example in EXAMPLES.get(words, ()):
                formatter.write(f"  {example}\n")


class Group(TyperGroup):
    """Commands in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per group, with the first line of the help of each command."""
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        width = formatter.width - 6 - max(map(len, names), default=0)
        found: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            heading = "Commands" if ctx.parent else _GROUP.get(name, "Further commands")
            found.setdefault(heading, []).append(
                (name, self.commands[name].get_short_help_str(width))
            )
        for heading in sorted(found, key=[*GROUPS, *found].index):
            with formatter.section(heading):
                formatter.write_dl(found[heading])


class App(typer.Typer):
    """An application whose commands have the frame of this module."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Return a decorator that registers a command, as typer's does."""

        def add(function: Any) -> Any:
            def described() -> None:
                """Stand for the function, whose options are not read yet."""

            described.__name__, described.__doc__ = function.__name__, function.__doc__
            kind: Any = functools.partial(options.pop("cls", Command), function)
            super(App, self).command(name, cls=kind, **options)(described)
            return function

        return add


def say_much(*, verbose: bool, quiet: bool) -> None:
    """Set how much is printed; without either option, nothing changes."""
    if quiet:
        set_detail(Detail.QUIET)
    elif verbose:
        import logging

        set_detail(Detail.VERBOSE)
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def _framed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command's function with the options -v and -q, groups and completion."""
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters.values()
    params = [param.replace(annotation=hints[param.name]) for param in own]
    for name, kind in (("verbose", Verbose), ("quiet", Quiet)):
        shape = inspect.Parameter.KEYWORD_ONLY
        params.append(inspect.Parameter(name, shape, default=False, annotation=kind))
    for param in params:
        for info in get_args(param.annotation)[1:]:
            if isinstance(info, ParameterInfo):
                info.rich_help_panel = info.rich_help_panel or _PANEL.get(param.name)
                info.autocompletion = info.autocompletion or COMPLETIONS.get(param.name)

    @functools.wraps(function)
    def command(*args: Any, verbose: bool, quiet: bool, **named: Any) -> Any:
        say_much(verbose=verbose, quiet=quiet)
        return function(*args, **named)

    command.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]
    command.__annotations__ = {param.name: param.annotation for param in params}
    return command


# Completion -------------------------------------------------------------------------------


def _starting(names: Callable[[], Iterator[str]]) -> Callable[[str], list[str]]:
    """Return what completes the beginning of a name."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def _models() -> Iterator[str]:
    from rsbench.models.registry import cards

    yield from sorted(cards())


def _presets() -> Iterator[str]:
    from rsbench.models.registry import cards

    yield from sorted({preset for card in cards().values() for preset in card.presets})


def _metrics() -> Iterator[str]:
    from rsbench.metrics.registry import metric_info
    from rsbench.metrics.suites import SUITES

    yield from (*SUITES, *(info.id for info in metric_info(probe=False)))


def _importers() -> Iterator[str]:
    from rsbench.build.importers.registry import IMPORTERS

    yield from IMPORTERS.names()


def _catalogue(kind: str) -> Callable[[], Iterator[str]]:
    def names() -> Iterator[str]:
        from rsbench.catalog import names

        yield from names(kind)

    return names


def _words(text: str) -> Callable[[], Iterator[str]]:
    return lambda: iter(text.split())


COMPLETIONS: Mapping[str, Callable[[str], list[str]]] = {
    name: _starting(names)
    for name, names in {
        "model": _models,
        "preset": _presets,
        "suite": _metrics,
        "metrics": _metrics,
        "importer": _importers,
        "recipe": _catalogue("recipes"),
        "protocol": _catalogue("protocols"),
        "labels": _catalogue("labels"),
        "split": _words("test val train"),
        "unit": _words("reflectance kelvin display index"),
        "device": _words("auto cpu cuda mps"),
        "precision": _words("32-true bf16-mixed 16-mixed 64-true"),
        "keep_predictions": _words("none viewer all"),
        "store_kind": _words("zarr icechunk"),
    }.items()
}
"""Parameter → what completes its beginning; paths are completed by the shell."""
