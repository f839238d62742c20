"""Draws charts, and writes numbers as people do. Knows no room: a chart shows what its table and its arguments hold.

candidates.py and segments.py have the charts, figures.py what they share, images.py turns figures into SVG and PNG, and
notation.py writes numbers, shares and money.
"""
