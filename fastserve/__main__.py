"""`python -m fastserve`."""

from fastserve.cli import main

if __name__ == "__main__":
    main(prog_name="fastserve")
