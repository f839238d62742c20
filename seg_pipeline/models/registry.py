"""The algorithms that the pipeline tries: a new algorithm is one class and one line here."""

from seg_pipeline.models.bisecting_kmeans import BisectingKMeansAlgorithm
from seg_pipeline.models.gaussian_mixture import DiagonalGaussianMixtureAlgorithm, GaussianMixtureAlgorithm
from seg_pipeline.models.hdbscan import HDBSCANAlgorithm
from seg_pipeline.models.hierarchical import WardAlgorithm
from seg_pipeline.models.k_medoids import KMedoidsAlgorithm
from seg_pipeline.models.kmeans import KMeansAlgorithm
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
