"""`python -m jupyter_agent.cli`: the same as `jupyter agent`."""

import sys

from . import main

sys.exit(main())
