"""`python -m portcullis` is the same as `portcullis`."""

from portcullis.cli.main import main

if __name__ == "__main__":
    main()
