"""The customers' transformed features summarised as weighted cells.

Every fit and every metric of this room runs on the cells, so it costs what the summary costs, whatever the size of the
shop. This module makes the summary and nothing else; which features there are, and in which units, is decided before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Bisection of the grid step stops once the occupied cells fill this share of the allowance: finer buys nothing.
_FULL_ENOUGH = 0.95
_MAX_BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class Coreset:
    """Weighted cells that stand for all customers.

    Attributes
    ----------
    points : (cells, features)
        Mean of each cell's customers, in transformed units.
    weights : (cells,)
        Customers in each cell, above zero.
    exact : bool
        Every distinct row is a cell of its own, so nothing was lost.

    Raises
    ------
    ValueError
        Points and weights do not fit together, or a weight is not above zero (drop such cells first).
    """

    points: FloatArray
    weights: FloatArray
    exact: bool

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.weights.shape != self.points.shape[:1]:
            raise ValueError(f"points {self.points.shape} and weights {self.weights.shape} do not fit together")
        if not np.all(self.weights > 0):
            raise ValueError(f"cell {int(np.argmin(self.weights > 0))} has no weight: every cell needs one above zero")


def summarise(matrix: FloatArray, max_cells: int = 6000) -> tuple[Coreset, IntArray]:
    """Summarise rows as at most `max_cells` weighted cells.

    Up to `max_cells` distinct rows are kept as they are. More are grouped by a regular grid with one step for all
    features, the finest whose occupied cells stay within `max_cells`. Cells do not depend on the order of the rows.

    Parameters
    ----------
    matrix : (rows, features)
        One row per customer, finite, in transformed units.
    max_cells : int
        Upper bound on the number of cells.

    Returns
    -------
    coreset : Coreset
        Cells in lexicographic order of their place.
    cell_of_row : (rows,)
        The cell that each row belongs to.

    Raises
    ------
    ValueError
        The matrix is empty or not two-dimensional, holds a value that is not finite, or `max_cells` is below one.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"a coreset needs rows and features, not a matrix of shape {matrix.shape}")
    if max_cells < 1:
        raise ValueError(f"max_cells is {max_cells}: at least one cell is needed")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"row {row}, column {column} of the matrix is {matrix[row, column]}: not a finite number")

    distinct, distinct_of_row, customers = _distinct_rows(matrix)
    if len(distinct) <= max_cells:
        return Coreset(distinct, customers, exact=True), distinct_of_row

    cell_of_distinct = _finest_grid(distinct, max_cells)
    weights, points = group_means(cell_of_distinct, customers, distinct)
    return Coreset(points, weights, exact=False), cell_of_distinct[distinct_of_row]


def group_means(groups: IntArray, weights: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight (groups,) and weighted mean (groups, features) of each group of points.

    `groups` (points,) is 0, 1, ... without gaps, `weights` (points,), `points` (points, features).
    """
    totals = np.bincount(groups, weights).astype(np.float64)
    sums = [np.bincount(groups, weights * column) for column in points.T]
    return totals, np.column_stack(sums) / totals[:, None]


def _distinct_rows(matrix: FloatArray) -> tuple[FloatArray, IntArray, FloatArray]:
    """Distinct rows in lexicographic order, the one each row equals, and how many rows equal each.

    As `np.unique(axis=0)`, which takes several times as long on a million rows.
    """
    order = np.lexsort(matrix.T[::-1])
    ordered = matrix[order]
    is_new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    distinct_of_row = np.empty(len(matrix), dtype=np.int64)
    distinct_of_row[order] = np.cumsum(is_new) - 1
    return ordered[is_new] + 0.0, distinct_of_row, np.bincount(distinct_of_row).astype(np.float64)  # -0.0 becomes 0.0


def _finest_grid(points: FloatArray, max_cells: int) -> IntArray:
    """Cell of each point on the finest grid, found by bisection, that occupies at most `max_cells` cells."""
    offsets = points - points.min(axis=0)
    too_fine, step = 0.0, 2.0 * float(offsets.max())  # at this step all points share one cell
    cells, best = 1, np.zeros(len(points), dtype=np.int64)
    for _ in range(_MAX_BISECTIONS):
        if cells >= _FULL_ENOUGH * max_cells:
            break
        # Steps range over orders of magnitude: halve until one is too fine, then bisect on the logarithmic scale.
        tried = np.sqrt(too_fine * step) if too_fine else step / 2
        keys = _grid_keys(offsets, tried)
        occupied, cell_of_point = np.unique(keys, return_inverse=True)
        if len(occupied) > max_cells:
            too_fine = tried
        else:
            step, cells, best = tried, len(occupied), cell_of_point
    return best


def _grid_keys(offsets: FloatArray, step: float) -> IntArray:
    """One integer per point that names its grid cell and sorts as the cell's place does."""
    keys, size = np.zeros(len(offsets), dtype=np.int64), 1
    for column in offsets.T:
        places = (column / step).astype(np.int64)
        extent = int(places.max()) + 1
        if size * extent > np.iinfo(np.int64).max:  # far outliers in many features: number the keys seen so far densely
            keys = np.unique(keys, return_inverse=True)[1]
            size = int(keys.max()) + 1
        keys, size = keys * extent + places, size * extent
    return keys
