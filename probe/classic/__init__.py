"""Train scikit-learn's heads: logistic and ridge regression, and the nearest neighbours.

They read each single layer, the mean of all and all one after the other, scaled as those of
networks are, and with ``pca`` the principal components of the training rows. Strength, neighbours
and layer are chosen on validation. Nothing is drawn at random: there is one head, without a spread
over seeds, unless a protocol deals clips or targets out to seeds.
"""

from svuprobe.probe.classic.choose import Heads, train

__all__ = ["Heads", "train"]
