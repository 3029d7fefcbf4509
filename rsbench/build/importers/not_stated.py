"""What neither files nor options state: collected, and told in one refusal with one command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rsbench.build.importers.api import Importer, ImportRequest, Prepared, flag
from rsbench.build.importers.lacks import NotStatedError
from rsbench.core.errors import InputError, PixelError

COMMAND = "rsbench import-dataset"
_BEGINS = ("State", "Add", "Name", "Give")


def checked(importer: Importer, request: ImportRequest) -> Prepared:
    """Return what an importer prepares; a refusal lists all that is not stated.

    After a refusal for something that is not stated, the check goes on with an example value, so
    that the next thing is found too. Nothing is returned that was prepared from examples.

    Raises:
        InputError: as of :meth:`rsbench.build.importers.api.Importer.prepare`.
    """
    found: list[NotStatedError] = []
    current = request
    while True:
        try:
            result = importer.prepare(current)
        except NotStatedError as error:
            found.append(error)
            if not set(error.assumed) - current.assumed:
                raise _together(current, found) from error
            options = replace(current.options, **error.assumed)
            current = replace(
                current, options=options, assumed=current.assumed | set(error.assumed)
            )
        except InputError as error:
            if not found:
                raise
            raise _together(current, found) from error
        else:
            if found:
                raise _together(current, found)
            return result


def _together(request: ImportRequest, found: Sequence[NotStatedError]) -> InputError:
    """Return one refusal for all that is not stated; the command has an example for each."""
    first, command = found[0], f"type, with the values that are true: {request.command()}"
    if len(found) == 1 and COMMAND in first.remedy:
        return first
    if len(found) == 1:
        return InputError(first.asked, first.found, f"{first.remedy}. So {command}")
    others = ", ".join(error.lacks for error in found[1:])
    hints = {
        "unit": " ; display values need no scale, and other units are kelvin and index",
        "dates": " ; FILE.csv has the columns file,date",
    }
    told = "".join(hint for name, hint in hints.items() if name in request.assumed)
    remedy = f"{command[:1].upper()}{command[1:]}{told}"
    return InputError(first.asked, f"{first.found}; also not stated: {others}", remedy)


@contextmanager
def told_with_command(importer: Importer, request: ImportRequest) -> Iterator[None]:
    """Add the command typed so far to a refusal that tells to add an option to it."""
    try:
        yield
    except (InputError, PixelError) as error:
        flags = [flag(name) for name in importer.takes]
        told = error.remedy.startswith(_BEGINS) and any(name in error.remedy for name in flags)
        if type(error) not in (InputError, PixelError) or not told or COMMAND in error.remedy:
            raise
        remedy = f"{error.remedy}; the command so far: {request.command()}"
        raise type(error)(error.asked, error.found, remedy) from error
