"""Holdouts: how many customers of a segment to leave out so that the effect of contacts can be measured."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class TwoProportionTest:
    """A two-sided test of whether contacted customers buy more often than those left out.

    Attributes:
        significance: Chance of seeing an effect if there is none.
        power: Chance of seeing an effect if there is one.
    """

    significance: float
    power: float

    def detectable_difference(self, effect: float, base_rate: float, left_out: int, contacted: int) -> float:
        """Returns the smallest difference that groups of these sizes can detect if the true effect is `effect`.

        This is the sample size of Fleiss, Tytun and Ury (Biometrics 36, 1980) for two proportions in unequal groups,
        without continuity correction, solved for the difference: z(1 - significance / 2) sqrt(p (1 - p) (1 / n0 + 1 /
        n1)) + z(power) sqrt(p0 (1 - p0) / n0 + p1 (1 - p1) / n1). Here p0 is the share who buy of the n0 left out, p1 =
        p0 + effect that of the n1 contacted, and p that of both together.

        Args:
            effect: The true rise of the share who buy, on which the variances depend.
            base_rate: Share who buy without contact, 0 to 1.
            left_out: Customers left out.
            contacted: Customers contacted.
        """
        p0, p1 = base_rate, min(base_rate + effect, 1.0)
        both = (left_out * p0 + contacted * p1) / (left_out + contacted)
        chance = math.sqrt(both * (1 - both) * (1 / left_out + 1 / contacted))
        spread = math.sqrt(p0 * (1 - p0) / left_out + p1 * (1 - p1) / contacted)
        normal = NormalDist()
        return normal.inv_cdf(1 - self.significance / 2) * chance + normal.inv_cdf(self.power) * spread

    def holdout(self, customers: int, base_rate: float, effect: float) -> int | None:
        """Returns the fewest customers to leave out, at most half; None if even half is too few.

        Half is taken as the best split. With the default significance and power, the best split detects an effect at
        most 3 % smaller than half does; only an effect within these 3 % is refused although a split could detect it.

        Args:
            customers: Customers of the segment.
            base_rate: Share who buy without contact, 0 to 1.
            effect: The rise of that share to detect.
        """
        sizes = range(1, customers // 2 + 1)

        def is_enough(left_out: int) -> bool:
            return self.detectable_difference(effect, base_rate, left_out, customers - left_out) <= effect

        if base_rate + effect > 1 or not sizes or not is_enough(sizes[-1]):
            return None
        # The detectable effect falls up to the best split and rises slightly from there to half. As half is enough, so
        # is every split between the smallest that is enough and half.
        return sizes[bisect_left(sizes, True, key=is_enough)]

    def smallest_effect(self, customers: int, base_rate: float) -> float | None:
        """Returns the smallest effect that can be detected by leaving out half; None if none can.

        Args:
            customers: Customers of the segment.
            base_rate: Share who buy without contact, 0 to 1.
        """
        from scipy.optimize import brentq

        half, largest = customers // 2, 1 - base_rate

        def excess(effect: float) -> float:
            return effect - self.detectable_difference(effect, base_rate, half, customers - half)

        if half == 0 or excess(largest) <= 0:
            return None
        return float(brentq(excess, 1e-12, largest))
