"""The gates: rules that reject clusterings of no use to a team, because they are degenerate or unstable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg_pipeline.models.coreset import Coreset, FloatArray
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.settings import SelectionSettings

BoolArray = npt.NDArray[np.bool_]


# Compared by identity: its arrays have no single answer to whether they are equal.
@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """How large the clusters of a model are.

    Attributes:
        customers: Number of customers (k,) in each cluster; 0 for a component of a mixture that holds nobody.
        revenue: What they have spent (k,); None if it is not known.
    """

    customers: FloatArray
    revenue: FloatArray | None

    @property
    def shares(self) -> FloatArray:
        """Returns the share of the customers (k,) in each cluster."""
        return self.customers / self.customers.sum()

    @property
    def revenue_shares(self) -> FloatArray:
        """Returns the share of the revenue (k,) of each cluster; 0 if revenue is unknown or is not above zero."""
        if self.revenue is None or not self.revenue.sum() > 0:
            return np.zeros_like(self.customers)
        return self.revenue / self.revenue.sum()

    def too_small(self, selection: SelectionSettings) -> BoolArray:
        """Returns whether each cluster (k,) has too few customers and too little revenue for a segment."""
        few = (self.customers < selection.smallest_customers) | (self.shares < selection.smallest_share)
        return np.asarray(few & (self.revenue_shares < selection.smallest_revenue_share), dtype=np.bool_)


def sizes_of(coreset: Coreset, model: ClusterModel) -> Sizes:
    """Returns how large the clusters of a model are, by the labels of the coreset's cells."""

    def sums(values: FloatArray) -> FloatArray:
        return np.bincount(model.cell_labels, values, model.k).astype(np.float64)

    return Sizes(sums(coreset.weights), None if coreset.revenue is None else sums(coreset.revenue))


def servable(selection: SelectionSettings, customers: float) -> tuple[int, int]:
    """Returns the smallest and the largest number of segments that a team can serve.

    With few customers there are fewer segments than the settings ask for, down to one, so that each can have
    selection.smallest_customers.
    """
    most = max(1, int(customers) // selection.smallest_customers)
    return min(selection.k_min, most), min(selection.k_max, most)


def failed_gate(sizes: Sizes, stability: float, selection: SelectionSettings) -> str | None:
    """Returns the first gate that a candidate fails, in a sentence; None if it passes all.

    Args:
        sizes: The sizes of its clusters.
        stability: Its stability; NaN if it was not measured.
        selection: The gates.
    """
    refusal = _outside_the_range(len(sizes.customers), sizes.customers.sum(), selection)
    # All customers in one segment is what is left with few customers; it has no other gate to pass.
    if refusal or len(sizes.customers) == 1:
        return refusal
    if (too_small := sizes.too_small(selection)).any():
        smallest = int(np.flatnonzero(too_small)[sizes.customers[too_small].argmin()])
        return (
            f"The smallest segment has {sizes.customers[smallest]:,.0f} customers ({sizes.shares[smallest]:.2%}) and"
            f" {sizes.revenue_shares[smallest]:.1%} of the revenue: a segment needs at least"
            f" {selection.smallest_customers} customers and {selection.smallest_share:.2%} of them, or"
            f" {selection.smallest_revenue_share:.1%} of the revenue."
        )
    if sizes.shares.max() > selection.largest_share:
        return (
            f"The largest segment has {sizes.shares.max():.2%} of the customers, above the maximum of"
            f" {selection.largest_share:.2%}."
        )
    if not math.isnan(stability) and stability < selection.smallest_stability:
        return (
            f"Stability {stability:.2f} is below the minimum of {selection.smallest_stability:g}: refits on"
            " bootstrap samples give different clusters."
        )
    return None


def _outside_the_range(k: int, customers: float, selection: SelectionSettings) -> str | None:
    """Returns why a team cannot serve that many segments, in a sentence; None if it can."""
    low, high = servable(selection, customers)
    if k > high and high < selection.k_max:
        return (
            f"{k} segments are too many for {customers:,.0f} buyers: a segment needs at least"
            f" {selection.smallest_customers} customers."
        )
    if not low <= k <= high:
        segments = "1 segment" if k == 1 else f"{k} segments"
        return f"{segments} is outside the range of {low} to {high} that teams can serve."
    return None
