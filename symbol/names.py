"""Names of nodes without parameters that nobody needs to find again: by a counter of their own.

MXNet names what has no name by a counter of the whole process, so that the same graph built twice differs. Within
`with LocalNames("loss_"):` such nodes are loss_log_softmax0, ...; explicit names stay as they are.
"""

from __future__ import annotations

from common.mx import mx


class LocalNames(mx.name.NameManager):
    """A name manager that starts from 0 and puts a prefix before the names that it makes."""

    def __init__(self, prefix: str):
        super().__init__()
        self._local_prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        """Return the explicit name, or a new one."""
        return name or self._local_prefix + super().get(None, hint.lstrip("_"))
