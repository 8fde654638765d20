"""``python -m sweep``: see :mod:`sweep.commands.main`."""

import sys

from sweep.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
