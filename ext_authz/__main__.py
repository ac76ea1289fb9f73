"""`python -m ext_authz` runs the check service; `program` has what it does."""

import sys

from oauth_core.process.program_imports import kept_imports

with kept_imports():
    from ext_authz.program import main

if __name__ == "__main__":
    sys.exit(main())
