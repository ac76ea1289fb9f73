"""`python -m oauth_web` runs the authorization server; `program` has what it does."""

from oauth_core.process.program_imports import kept_imports

with kept_imports():
    from oauth_web.program import main

if __name__ == "__main__":
    main()
