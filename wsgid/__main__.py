"""`python -m wsgid` runs the command `wsgid`."""

import sys

from wsgid.cli import main

sys.exit(main())
