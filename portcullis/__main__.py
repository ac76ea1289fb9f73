"""`python -m portcullis` is the same as `portcullis`."""

from portcullis.cli import main

if __name__ == "__main__":
    main()
