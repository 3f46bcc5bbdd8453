"""Run ``python -m svuprobe.cli``, the same as ``svuprobe``."""

import sys

from svuprobe.cli import main

if __name__ == "__main__":
    sys.exit(main())
