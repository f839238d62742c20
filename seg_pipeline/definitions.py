"""The Definitions that Dagster loads. Nothing in the package imports this module, which reads the environment."""

from seg_pipeline.guest import definitions_of
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop

defs = definitions_of(Shop(load_settings()))
