"""Lets `python -m seg_pipeline.cli` stand for the command if it is not on the path."""

import sys

from seg_pipeline.cli import main

sys.exit(main())
