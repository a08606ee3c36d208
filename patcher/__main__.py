"""`python -m patcher` is the `patcher` command."""

from patcher.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
