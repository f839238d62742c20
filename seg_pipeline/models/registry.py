"""The registry of algorithms. A new algorithm is one class and one line here."""

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.models.algorithms.bisecting_kmeans import BisectingKMeansAlgorithm
from seg_pipeline.models.algorithms.gaussian_mixture import DiagonalGaussianMixtureAlgorithm, GaussianMixtureAlgorithm
from seg_pipeline.models.algorithms.hdbscan import HDBSCANAlgorithm
from seg_pipeline.models.algorithms.hierarchical import WardAlgorithm
from seg_pipeline.models.algorithms.k_medoids import KMedoidsAlgorithm
from seg_pipeline.models.algorithms.kmeans import KMeansAlgorithm
from seg_pipeline.models.algorithms.rfm_grid import RFMGridAlgorithm
from seg_pipeline.models.model import Algorithm
from seg_pipeline.settings import Settings

_ALGORITHMS: tuple[Algorithm, ...] = (
    KMeansAlgorithm(),
    WardAlgorithm(),
    GaussianMixtureAlgorithm(),
    DiagonalGaussianMixtureAlgorithm(),
    BisectingKMeansAlgorithm(),
    KMedoidsAlgorithm(),
    HDBSCANAlgorithm(),
    RFMGridAlgorithm(),
)
ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in _ALGORITHMS}
# The name of the algorithm that the others must beat.
[BASELINE] = (algorithm.name for algorithm in _ALGORITHMS if algorithm.is_baseline)


def check_algorithms(settings: Settings) -> None:
    """Checks the algorithms that the settings name.

    Raises:
        UsageError: models.algorithms names an algorithm that does not exist or is the baseline, or selection.algorithm
            names one that is not compared.
    """
    comparable = [name for name, algorithm in ALGORITHMS.items() if not algorithm.is_baseline]
    compared = settings.models.algorithms
    for name in compared:
        if name not in comparable:
            raise UsageError(
                f"models.algorithms: no algorithm {name!r}{did_you_mean(name, comparable)}"
                f"; choose from {', '.join(comparable)}"
            )
    forced = settings.selection.algorithm
    if forced and forced not in (*compared, BASELINE):
        raise UsageError(f"selection.algorithm={forced} is not in models.algorithms ({', '.join(compared)})")
