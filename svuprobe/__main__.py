"""Run ``python -m svuprobe``, the same as ``svuprobe``; ``accelerate launch`` needs it."""

from svuprobe.cli import main

if __name__ == "__main__":
    main()
