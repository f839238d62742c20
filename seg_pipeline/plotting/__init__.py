"""Charts, and numbers as people write them. No room is known here: what a chart shows is in its table or an argument.

candidates.py and segments.py have the charts, figures.py what they share, images.py turns figures into SVG and PNG, and
notation.py writes numbers, shares and money.
"""
