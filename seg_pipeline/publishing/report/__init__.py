"""Renders the night's report: one HTML page without other files, for marketing, data scientists and data engineers.

contents.py holds the tables that the page shows. sections.py has a function for each section, in reading order, and
sections/ has its template. The templates write values with the functions of words.py. page.py puts the sections
together. The caller provides the tables, and plotting draws the charts. The page has no timings, so the same night
gives the same bytes.
"""

from seg_pipeline.publishing.report.contents import Report
from seg_pipeline.publishing.report.page import render

__all__ = ["Report", "render"]
