"""Options of a model's builder: the names it accepts, and values that replace a preset's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rsbench import InputError, Stage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)

M = TypeVar("M")
TRAINING = ("learning_rate", "steps", "batch_size")
"""Options of every trainable model; fields of :class:`rsbench.Stage`."""


Source = type | Mapping[str, Any]
"""A class whose constructor has options, or by preset what has them, as attributes or entries."""


def accepts(
    *names: str, of: Sequence[Source] = (), **defaults: Any
) -> Callable[[Callable[..., M]], Callable[..., M]]:
    """Declare the options of a builder ``build(preset, **options)``.

    The names become its signature, which the registry reads. An option that is None counts as
    not given.

    Args:
        names: of the options.
        of: where their values stand if they are not given; the first that has a name counts.
        defaults: values that stand nowhere else.

    Raises:
        TypeError: when the builder is called with another option.
    """

    def declare(build: Callable[..., M]) -> Callable[..., M]:
        first = next(iter(inspect.signature(build).parameters.values()))
        keyword = inspect.Parameter.KEYWORD_ONLY
        hints = {
            name: parameter.annotation
            for source in reversed(of) if isinstance(source, type)
            for name, parameter in inspect.signature(source).parameters.items()
        }  # fmt: skip
        options = [
            inspect.Parameter(
                name, keyword, default=None, annotation=hints.get(name, inspect.Parameter.empty)
            )
            for name in names
        ]
        signature = inspect.Signature([first, *options])

        @functools.wraps(build)
        def builder(*args: Any, **options: Any) -> M:
            bound = signature.bind(*args, **options)
            stated = {n: v for n, v in bound.kwargs.items() if v is not None}
            return build(*bound.args, **stated)

        builder.__signature__ = signature  # type: ignore[attr-defined]
        builder.stated = functools.partial(_stated, names, of, defaults)  # type: ignore[attr-defined]
        return builder

    return declare


def _stated(
    names: Sequence[str], of: Sequence[Source], defaults: Mapping[str, Any], preset: str
) -> dict[str, Any]:
    """Return the values of the options that are not given, by name, as far as they are known."""
    found = dict(defaults)
    for source in reversed(of):
        if isinstance(source, Mapping):
            entry = source[preset]
            known = TRAINING if isinstance(entry, Stage) else names
            values = (
                entry
                if isinstance(entry, Mapping)
                else {name: getattr(entry, name) for name in known if hasattr(entry, name)}
            )
            found |= {name: values[name] for name in names if name in values}
        else:
            found |= {
                name: parameter.default
                for name, parameter in inspect.signature(source).parameters.items()
                if name in names and parameter.default is not inspect.Parameter.empty
            }
    return found


def trained(stage: Stage, options: Mapping[str, Any]) -> Stage:
    """Return a stage with the options of training in place of its own."""
    return replace(stage, **{name: options[name] for name in TRAINING if name in options})


def picked(cls: type[S], options: Mapping[str, Any]) -> S:
    """Return an object of a dataclass with the options that are its fields."""
    return cls(**{f.name: options[f.name] for f in fields(cls) if f.name in options})


def require_choices(chosen: DataclassInstance) -> None:
    """Reject a value that is none of its field's choices, those of a ``Literal``.

    Raises:
        InputError: names the field and its choices.
    """
    for name, hint in get_type_hints(type(chosen)).items():
        value, known = getattr(chosen, name), get_args(hint)
        if get_origin(hint) is Literal and value not in known:
            raise InputError(f"{name}={value}", "it is unknown", f"Choose {' or '.join(known)}")


def sized(size: S, options: Mapping[str, Any]) -> S:
    """Return a size with the other options in place of its own; a list becomes a tuple."""
    return replace(
        size,
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name not in TRAINING
        },
    )
