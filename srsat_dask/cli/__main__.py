"""``python -m srsat_dask.cli`` is ``srsat``."""

import sys

from srsat_dask.cli import main

sys.exit(main())
