"""`python -m yingbi`: the command line."""

from yingbi.cli.main import run

run()
