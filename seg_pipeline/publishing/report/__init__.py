"""The night's report: one HTML page that needs nothing else, for marketing, data scientists and data engineers.

contents.py holds the tables that the page is made of. sections.py has a function for each section, in reading order,
and sections/ its template. words.py has what the templates write values with. page.py puts the sections together.
Tables come from the caller, charts from plotting. No duration is on the page, so the same night gives the same bytes.
"""

from seg_pipeline.publishing.report.contents import Report
from seg_pipeline.publishing.report.page import render

__all__ = ["Report", "render"]
