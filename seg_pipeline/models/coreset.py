"""The coreset: weighted cells that summarise the customers' transformed features.

Every fit and every metric of this room runs on the cells, so it costs what the summary costs, whatever the size of the
shop. This module only makes the summary; which features there are, and in which units, is decided before.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Coreset:
    """Weighted cells that stand for all customers.

    Attributes:
        points: Mean (cells, features) of each cell's customers, in transformed units.
        weights: Customers (cells,) in each cell, above zero.
        exact: Whether every distinct row is a cell of its own, so that nothing was lost.
        spread: Mean squared distance (cells,) of each cell's customers to their mean, squared transformed units; zeros
            unless given.
        rfm_segments: The commonest R x F grid segment (cells,) of each cell's customers; None if it is not known.

    Raises:
        ValueError: The shapes of the arrays do not match, or a weight is not above zero (drop such cells first).
    """

    points: FloatArray
    weights: FloatArray
    exact: bool
    spread: FloatArray = field(default=None)  # type: ignore[arg-type]  # zeros: __post_init__ knows how many
    rfm_segments: npt.NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if self.spread is None:
            object.__setattr__(self, "spread", np.zeros(len(self.points)))
        if self.points.ndim != 2 or not self.weights.shape == self.spread.shape == self.points.shape[:1]:
            shapes = f"points {self.points.shape}, weights {self.weights.shape} and spread {self.spread.shape}"
            raise ValueError(f"the shapes do not match: {shapes}")
        if self.rfm_segments is not None and self.rfm_segments.shape != self.weights.shape:
            raise ValueError(f"{len(self.rfm_segments)} grid segments for {len(self.weights)} cells")
        if not np.all(self.weights > 0):
            raise ValueError(f"cell {int(np.argmin(self.weights > 0))} has no weight: every cell needs one above zero")

    @property
    def lost_share(self) -> float:
        """The share of the customers' total sum of squares that lies within cells and is lost to every fit on them."""
        mean = np.average(self.points, axis=0, weights=self.weights)
        within = float(np.sum(self.weights * self.spread))
        total = within + float(np.sum(self.weights * ((self.points - mean) ** 2).sum(axis=1)))
        return within / total if total > 0 else 0.0


def summarise(matrix: FloatArray, max_cells: int = 6000) -> tuple[Coreset, IntArray]:
    """Summarises rows as at most `max_cells` weighted cells.

    Up to `max_cells` distinct rows are kept as they are. More are divided by a tree (see `_split_cells`). The cells do
    not depend on the order of the rows.

    Args:
        matrix: One row (rows, features) per customer, finite, in transformed units.
        max_cells: Upper bound on the number of cells.

    Returns:
        The coreset, its cells in lexicographic order of their points; and the cell (rows,) that each row belongs to.

    Raises:
        ValueError: The matrix is empty or not two-dimensional, holds a value that is not finite, or `max_cells` is
            below one.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"a coreset needs rows and features, not a matrix of shape {matrix.shape}")
    if max_cells < 1:
        raise ValueError(f"max_cells is {max_cells}: at least one cell is needed")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"row {row}, column {column} of the matrix is {matrix[row, column]}: not a finite number")

    columns, customers, distinct_of_row = _distinct_rows(matrix)
    exact = len(customers) <= max_cells
    if exact:
        points, weights, spread = columns.T, customers, np.zeros(len(customers))
        cell_of_distinct = np.arange(len(customers))
    else:
        points, weights, spread, cell_of_distinct = _split_cells(columns, customers, max_cells)
    order = np.lexsort(points.T[::-1])
    coreset = Coreset(np.ascontiguousarray(points[order]), weights[order], exact, spread[order])
    return coreset, np.argsort(order)[cell_of_distinct][distinct_of_row]


def group_means(groups: IntArray, weights: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the weight (groups,) and the weighted mean (groups, features) of each group of points.

    Args:
        groups: Number (points,) of each point's group: 0, 1, ... without gaps.
        weights: Weight (points,) of each point.
        points: The points (points, features).
    """
    totals = np.bincount(groups, weights).astype(np.float64)
    sums = [np.bincount(groups, weights * column) for column in points.T]
    return totals, np.column_stack(sums) / totals[:, None]


def _distinct_rows(matrix: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Finds the distinct rows of a matrix, in the order of their hashes.

    That order depends on the order of the rows no more than an order by value would, and takes a fraction of the time
    to sort.

    Returns:
        The distinct rows as columns (features, distinct), the number of rows (distinct,) that equal each of them, and
        the distinct row (rows,) that each row equals.
    """
    import pandas as pd

    columns = np.array(matrix.T, order="C")
    columns += 0.0  # -0.0 becomes 0.0
    hashes = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(columns)), copy=False), index=False).to_numpy()
    order = np.argsort(hashes)
    is_new = np.zeros(len(matrix), dtype=bool)
    is_new[0] = True
    for column in columns:
        column[:] = column[order]
        is_new[1:] |= column[1:] != column[:-1]
    distinct_of_row = np.empty(len(matrix), dtype=np.int64)
    distinct_of_row[order] = np.cumsum(is_new) - 1
    customers = np.diff(np.flatnonzero(is_new), append=len(matrix)).astype(np.float64)
    return columns if is_new.all() else columns[:, is_new], customers, distinct_of_row


class _Cell(NamedTuple):
    """A cell of the tree being grown. In a heap, the cell with the largest sum of squares comes first.

    Attributes:
        minus_squares: The sum of squares about the mean, times -1.
        start: The place of its first point.
        stop: The place after its last point.
        weight: Its total weight.
        mean: Its weighted mean (features,).
        squares: The sum of squares (features,) about the mean along each feature.
    """

    minus_squares: float
    start: int
    stop: int
    weight: float
    mean: FloatArray
    squares: FloatArray


def _split_cells(
    columns: FloatArray, weights: FloatArray, max_cells: int
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Divides weighted points into `max_cells` cells by a tree.

    The cell with the largest sum of squares is split first, across its widest feature, at its mean (variance-based
    division: Wan, Wong & Prusinkiewicz 1988). Unlike the cells of a grid, these are small where there are many
    customers, and follow the directions in which customers differ, whatever the number of features.

    Args:
        columns: Distinct points as columns (features, points); rearranged in place.
        weights: Weight (points,) of each point.
        max_cells: Upper bound on the number of cells.

    Returns:
        The mean (cells, features), the weight (cells,) and the mean squared distance (cells,) to the mean of each cell;
        and the cell (points,) of each point.
    """
    order = np.arange(len(weights))
    weights = weights.copy()
    # The points of a cell stay side by side; a split only rearranges them.
    cells = [_cell(columns, weights, 0, len(order))]
    while len(cells) < max_cells and cells[0].minus_squares < 0.0:
        widest = cells[0]
        start, stop, axis = widest.start, widest.stop, int(widest.squares.argmax())
        above = columns[axis, start:stop] > widest.mean[axis]
        middle = stop - int(np.count_nonzero(above))
        if middle in {start, stop}:  # the points differ by no more than rounding, so the cell is never split again
            heapq.heapreplace(cells, widest._replace(minus_squares=0.0))
            continue
        arranged = np.concatenate([np.flatnonzero(~above), np.flatnonzero(above)])
        for values in (*columns, weights, order):
            values[start:stop] = values[start:stop][arranged]
        heapq.heapreplace(cells, _cell(columns, weights, start, middle))
        heapq.heappush(cells, _cell(columns, weights, middle, stop))

    cells.sort(key=lambda cell: cell.start)
    cell_of_point = np.empty_like(order)
    cell_of_point[order] = np.repeat(np.arange(len(cells)), [cell.stop - cell.start for cell in cells])
    means, totals = np.array([cell.mean for cell in cells]), np.array([cell.weight for cell in cells])
    return means, totals, np.array([cell.squares.sum() for cell in cells]) / totals, cell_of_point


def _cell(columns: FloatArray, weights: FloatArray, start: int, stop: int) -> _Cell:
    """Makes the cell of the points from `start` to `stop`."""
    part, customers = columns[:, start:stop], weights[start:stop]
    weight = float(customers.sum())
    # einsum, because the last bits of a matrix product would depend on the number of threads.
    mean = np.einsum("ij,j->i", part, customers) / weight
    deviations = part - mean[:, None]
    deviations *= deviations
    squares = np.einsum("ij,j->i", deviations, customers)
    return _Cell(-float(squares.sum()), start, stop, weight, mean, squares)
