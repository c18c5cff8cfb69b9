"""`python -m trainers.commands` is `mlbridge`."""

import sys

from trainers.commands import main

sys.exit(main())
