"""The process `rsbench`, also as `python -m rsbench.cli`."""

import hashlib  # noqa: F401 - first, as it writes a page of errors where memory runs out
import os
from typing import NoReturn

_NO_MEMORY = (
    "rsbench: this command: there is too little memory to load its modules. "
    "Close other programs, or raise the limit (`ulimit -v`)\n"
)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code.

    Nothing of the interpreter is used after memory ran out while the modules were loaded.
    """
    try:
        from rsbench.cli.main import main as run
    except (MemoryError, ImportError, OSError) as error:
        short = isinstance(error, MemoryError) or "map segment" in str(error)
        if not (short or "allocate memory" in str(error)):
            raise
        os.write(2, _NO_MEMORY.encode())
        os._exit(1)
    run()


if __name__ == "__main__":
    main()
