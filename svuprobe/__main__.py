"""Run the command line: ``python -m svuprobe`` and ``accelerate launch -m svuprobe``."""

from svuprobe.cli import main

if __name__ == "__main__":
    main()
