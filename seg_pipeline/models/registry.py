"""The algorithms that the pipeline tries: a new algorithm is one class and one line here."""

from seg_pipeline.models.gaussian_mixture import GaussianMixtureAlgorithm
from seg_pipeline.models.hierarchical import WardAlgorithm
from seg_pipeline.models.kmeans import KMeansAlgorithm
from seg_pipeline.models.model import Algorithm

ALGORITHMS: dict[str, Algorithm] = {
    "kmeans": KMeansAlgorithm(),
    "hierarchical": WardAlgorithm(),
    "gaussian_mixture": GaussianMixtureAlgorithm(),
}
