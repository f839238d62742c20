"""The coreset: weighted cells that summarise the customers' transformed features.

Fits and metrics use the cells, so their cost depends on the number of cells, not of customers. This module only makes
the cells; other modules choose the features and transform them.
"""

from __future__ import annotations

import heapq
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# The default of the setting models.max_cells.
DEFAULT_MAX_CELLS = 6000


@dataclass(frozen=True, slots=True)
class Coreset:
    """Weighted cells that stand for all customers.

    Attributes:
        points: (cells, features) Mean of each cell's customers, in transformed units.
        weights: (cells,) Number of customers in each cell, above zero.
        spread: (cells,) Mean squared distance of each cell's customers to their mean, in squared transformed units.
        exact: Whether every distinct row is a cell of its own, so that nothing was lost.
        rfm_segments: (cells,) The commonest R x F grid segment of each cell's customers; None if it is not known.
        revenue: (cells,) What each cell's customers have spent, net of returns; None if it is not known.

    Raises:
        ValueError: The shapes of the arrays do not match, or a weight is not above zero (drop such cells first).
    """

    points: FloatArray
    weights: FloatArray
    spread: FloatArray
    _: KW_ONLY
    exact: bool
    rfm_segments: npt.NDArray[np.str_] | None = None
    revenue: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or not self.weights.shape == self.spread.shape == self.points.shape[:1]:
            shapes = f"points {self.points.shape}, weights {self.weights.shape} and spread {self.spread.shape}"
            raise ValueError(f"the shapes do not match: {shapes}")
        if self.rfm_segments is not None and self.rfm_segments.shape != self.weights.shape:
            raise ValueError(f"{len(self.rfm_segments)} grid segments for {len(self.weights)} cells")
        if not np.all(self.weights > 0):
            raise ValueError(f"cell {int(np.argmin(self.weights > 0))} has no weight: every cell needs one above zero")

    @classmethod
    def without_spread(cls, points: FloatArray, weights: FloatArray, *, exact: bool) -> Coreset:
        """Returns a coreset in which all customers of a cell are at its point, so that every spread is zero."""
        return cls(points, weights, np.zeros(len(points)), exact=exact)

    @property
    def lost_share(self) -> float:
        """Returns the share of the customers' total sum of squares that lies within cells, which fits on them lose."""
        mean = np.average(self.points, axis=0, weights=self.weights)
        within = float(np.sum(self.weights * self.spread))
        total = within + float(np.sum(self.weights * ((self.points - mean) ** 2).sum(axis=1)))
        return within / total if total > 0 else 0.0


def summarise(matrix: FloatArray, max_cells: int = DEFAULT_MAX_CELLS) -> tuple[Coreset, IntArray]:
    """Summarises rows as at most `max_cells` weighted cells.

    If there are at most `max_cells` distinct rows, each becomes a cell. If there are more, a tree divides them (see
    `_split_cells`). The cells do not depend on the order of the rows.

    Args:
        matrix: (rows, features) One row per customer, finite, in transformed units.
        max_cells: Largest number of cells.

    Returns:
        The coreset, with its cells in lexicographic order of their points; and (rows,) the cell of each row.

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
    coreset = Coreset(np.ascontiguousarray(points[order]), weights[order], spread[order], exact=exact)
    return coreset, np.argsort(order)[cell_of_distinct][distinct_of_row]


def group_means(groups: IntArray, weights: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the total weight and the weighted mean of each group of points.

    Args:
        groups: (points,) Number of each point's group: 0, 1, ... without gaps.
        weights: (points,) Weight of each point, above zero.
        points: (points, features) The points.

    Returns:
        (groups,) The total weight and (groups, features) the weighted mean of each group.

    Raises:
        ValueError: A group has no points, so it has no mean.
    """
    totals = np.bincount(groups, weights).astype(np.float64)
    if not np.all(totals > 0):
        raise ValueError(f"group {int(np.argmin(totals > 0))} has no points: number the groups 0, 1, ... without gaps")
    sums = [np.bincount(groups, weights * column) for column in points.T]
    return totals, np.column_stack(sums) / totals[:, None]


def _distinct_rows(matrix: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Finds the distinct rows of a matrix, in the order of their 64-bit hashes.

    Sorting by hash is much faster than sorting by value and is just as independent of row order. If two different rows
    have the same hash, they are not merged, because neighbours are compared by value; but equal rows may then not be
    neighbours, and are listed as several distinct rows.

    Returns:
        (features, distinct) The distinct rows, as columns; (distinct,) the number of rows that equal each of them; and
        (rows,) the distinct row that each row equals.
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
    """A cell of the tree being grown.

    heapq puts the smallest tuple first. The first field is the negative sum of squares, so that the cell with the
    largest sum comes first. Cells with equal sums are ordered by `start`, which no two cells share, so the arrays are
    never compared.

    Attributes:
        minus_squares: The sum of squares about the mean, times -1; 0 if the cell cannot be split.
        start: Index of its first point.
        stop: Index after its last point.
        weight: Its total weight.
        mean: (features,) Its weighted mean.
        squares: (features,) The sum of squares about the mean along each feature.
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
    """Divides weighted points into at most `max_cells` cells by a tree.

    The cell with the largest sum of squares is split first, across the feature with the largest sum, at its mean
    (variance-based division: Wan, Wong & Prusinkiewicz 1988). Unlike the cells of a grid, these are small where there
    are many customers, and follow the directions in which customers differ, whatever the number of features.

    Args:
        columns: (features, points) Distinct points, as columns; rearranged in place.
        weights: (points,) Weight of each point.
        max_cells: Largest number of cells.

    Returns:
        (cells, features) The mean, (cells,) the weight and (cells,) the mean squared distance to the mean of each cell;
        and (points,) the cell of each point.
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
        if middle in {start, stop}:
            # The points differ by no more than rounding. A sum of 0 keeps the cell from being split.
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
    """Returns the cell of the points from `start` up to but not including `stop`."""
    part, customers = columns[:, start:stop], weights[start:stop]
    weight = float(customers.sum())
    # einsum, because the last bits of a matrix product would depend on the number of threads.
    mean = np.einsum("ij,j->i", part, customers) / weight
    deviations = part - mean[:, None]
    deviations *= deviations
    squares = np.einsum("ij,j->i", deviations, customers)
    return _Cell(-float(squares.sum()), start, stop, weight, mean, squares)
