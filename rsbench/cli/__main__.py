"""`python -m rsbench.cli`: the same commands as `rsbench`."""

from rsbench.cli.main import main

main()
