"""The Definitions that Dagster loads. The module reads the environment, so nothing in the package imports it."""

from seg_pipeline.guest import definitions_of
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop

defs = definitions_of(Shop(load_settings()))
