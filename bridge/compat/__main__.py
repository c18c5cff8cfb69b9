"""`python -m bridge.compat script.py [arguments]`, or `-m module [arguments]`: runs it with the modules installed."""

import os
import runpy
import sys

from bridge.compat import install

USAGE = "usage: python -m bridge.compat SCRIPT.py [ARGUMENTS], or: python -m bridge.compat -m MODULE [ARGUMENTS]"


def main() -> None:
    """Runs the script as Python itself would: as `__main__`, with its arguments and its folder to import from."""
    arguments = sys.argv[1:]
    as_module = arguments[:1] == ["-m"]
    if as_module:
        arguments = arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        sys.exit(0 if arguments else 2)
    target = arguments[0]
    if not as_module and not os.path.exists(target):
        sys.exit(f"python -m bridge.compat: error: there is no script {target}")
    install()
    sys.argv = arguments
    if as_module:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(target))
        runpy.run_path(target, run_name="__main__")


if __name__ == "__main__":
    main()
