"""The two errors that reading data raises; both are `ValueError`s whose text is one sentence."""


class ImageReadError(ValueError):
    """One image file cannot be read; the sentence names the file."""


class DatasetError(ValueError):
    """A data set cannot be used as a whole: a missing folder, an empty class, a bad manifest."""
