"""`python -m seg_pipeline.cli`, where the command is not on the path."""

import sys

from seg_pipeline.cli import main

sys.exit(main())
