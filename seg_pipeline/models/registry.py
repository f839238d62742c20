"""The algorithms that the pipeline tries: a new algorithm is one class and one line here."""

from seg_pipeline.models.algorithms.bisecting_kmeans import BisectingKMeansAlgorithm
from seg_pipeline.models.algorithms.gaussian_mixture import DiagonalGaussianMixtureAlgorithm, GaussianMixtureAlgorithm
from seg_pipeline.models.algorithms.hdbscan import HDBSCANAlgorithm
from seg_pipeline.models.algorithms.hierarchical import WardAlgorithm
from seg_pipeline.models.algorithms.k_medoids import KMedoidsAlgorithm
from seg_pipeline.models.algorithms.kmeans import KMeansAlgorithm
from seg_pipeline.models.model import Algorithm

ALGORITHMS: dict[str, Algorithm] = {
    "kmeans": KMeansAlgorithm(),
    "hierarchical": WardAlgorithm(),
    "gaussian_mixture": GaussianMixtureAlgorithm(),
    "gaussian_mixture_diagonal": DiagonalGaussianMixtureAlgorithm(),
    "bisecting_kmeans": BisectingKMeansAlgorithm(),
    "k_medoids": KMedoidsAlgorithm(),
    "hdbscan": HDBSCANAlgorithm(),
}
