"""How many customers of a segment to leave out of its contacts, so that what the contacts do can be measured."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Comparison:
    """A two-sided test whether the contacted buy more often than those left out.

    Attributes:
        significance: Chance of seeing an effect where there is none.
        power: Chance of seeing one that is there.
    """

    significance: float
    power: float

    def needed(self, effect: float, base_rate: float, left_out: int, contacted: int) -> float:
        """The effect that groups of these sizes would have to show: they measure `effect` where it is no larger.

        The sample size of Fleiss, Tytun and Ury (Biometrics 36, 1980) for two proportions in unequal groups, without
        continuity correction, solved for the difference: z(1 - significance / 2) sqrt(p (1 - p) (1 / n0 + 1 / n1))
        + z(power) sqrt(p0 (1 - p0) / n0 + p1 (1 - p1) / n1), where p0 is the share who buy of the n0 left out, p1 = p0
        + effect that of the n1 contacted, and p that of both together.
        """
        p0, p1 = base_rate, min(base_rate + effect, 1.0)
        both = (left_out * p0 + contacted * p1) / (left_out + contacted)
        chance = math.sqrt(both * (1 - both) * (1 / left_out + 1 / contacted))
        spread = math.sqrt(p0 * (1 - p0) / left_out + p1 * (1 - p1) / contacted)
        normal = NormalDist()
        return normal.inv_cdf(1 - self.significance / 2) * chance + normal.inv_cdf(self.power) * spread

    def holdout(self, customers: int, base_rate: float, effect: float) -> int | None:
        """The fewest customers to leave out, at most half; None where even half would not do."""
        sizes = range(1, customers // 2 + 1)

        def shows(left_out: int) -> bool:
            return self.needed(effect, base_rate, left_out, customers - left_out) <= effect

        if base_rate + effect > 1 or not sizes or not shows(sizes[-1]):
            return None
        # The more are left out, up to half, the smaller the effect that shows.
        return sizes[bisect_left(sizes, True, key=shows)]

    def smallest_effect(self, customers: int, base_rate: float) -> float | None:
        """The smallest effect that leaving out half would measure; None where that cannot measure any."""
        from scipy.optimize import brentq

        half, largest = customers // 2, 1 - base_rate

        def excess(effect: float) -> float:
            return effect - self.needed(effect, base_rate, half, customers - half)

        if half == 0 or excess(largest) <= 0:
            return None
        return float(brentq(excess, 1e-12, largest))
