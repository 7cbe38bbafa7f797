"""Comments above fields and constants as their descriptions: that is where this package describes them."""

from __future__ import annotations

from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Takes the comment lines directly above an attribute that has no docstring."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called for each attribute of each class and module that is read."""
        if attr.docstring is not None or attr.lineno is None or isinstance(attr.filepath, list):
            return  # described already, or of no file of its own
        lines = attr.lines_collection[attr.filepath][: attr.lineno - 1]
        comment: list[str] = []
        while lines and lines[-1].lstrip().startswith(("# ", "#: ")):
            comment.insert(0, lines.pop().split("#", 1)[1].lstrip(": "))
        if comment:
            attr.docstring = griffe.Docstring("\n".join(comment), parent=attr)
