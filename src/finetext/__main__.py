"""`python -m finetext` is the command `finetext`."""

from finetext.cli import main

if __name__ == "__main__":
    main()
