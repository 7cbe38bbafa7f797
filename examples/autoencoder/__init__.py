"""A worked example of a method: an autoencoder of normal images, scored by how badly it redraws an image.

Copy the folder to anatpaste_gpu/methods/ and register METHODS there, or register it from your own script.
"""

from anatpaste_gpu.methods import Method

from .learner import Autoencoder, AutoencoderSettings

METHODS = (
    Method(
        "autoencoder",
        "Autoencoder",
        lambda recipe, segmenter: Autoencoder(recipe),
        weights="none",
        family="autoencoder",
        options=AutoencoderSettings,
    ),
)
