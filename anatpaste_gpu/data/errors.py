"""The errors that reading data raises, `ValueError`s whose text is one sentence, and the warning."""


class ImageReadError(ValueError):
    """One image file cannot be read; the sentence names the file."""


class TooManyPixelsError(ImageReadError):
    """A file's header or stream claims more pixels than are allowed; nothing was decoded."""


class DatasetError(ValueError):
    """A data set cannot be used as a whole: a missing folder, an empty class, a bad manifest."""


class ImageReadWarning(UserWarning):
    """A file was read, but a part of its header was passed over; the sentence names the file."""
