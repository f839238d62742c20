"""What the bench of many nights calls growth."""

from dataclasses import replace

import pytest

from seg_pipeline_tests.bench.long_life import Look, grown

FIRST = Look(
    night=1, seconds=2, cpu_seconds=2, descriptors=19, threads=14, children=3, resident=400, lines=1_000,
    temporary_files=0, warehouse_files=2, warehouse=10, output_files=32, output=6, home_files=8, home=2,
)  # fmt: skip


def looks(**figures):
    """A look after each of eight nights; what a figure is after each."""
    return [
        replace(FIRST, night=night + 1, **{name: values[night] for name, values in figures.items()})
        for night in range(8)
    ]


@pytest.mark.parametrize(
    ("figures", "lines"),
    [
        ({}, []),
        ({"descriptors": [9, 15, 19, 19, 19, 19, 19, 18]}, []),
        ({"descriptors": range(8)}, ["descriptors: 7, and 3 in the second quarter"]),
        ({"resident": range(400, 480, 10)}, []),
        ({"resident": range(400, 560, 20)}, ["resident: 1.18 times that of the second quarter, at most 1.10"]),
        ({"home": range(1, 9)}, ["home: 2.14 times that of the second quarter, at most 1.10"]),
        ({"warehouse": range(10, 18), "lines": range(1_000, 1_800, 100)}, []),
        ({"warehouse": range(10, 26, 2)}, ["warehouse: 1.53 times that of the second quarter, at most 1.25"]),
    ],
)
def test_growth_is_from_the_second_quarter_of_the_nights_to_the_last(figures, lines):
    assert grown(looks(**figures)) == lines
