"""Run by `payi_otel_compat.pth` when Python starts: the imports of `payi.lib` lead to payi-otel, which loads only when one is made."""

import sys


class _Finder:
    """Knows a few names, and leaves the finding of them to `payi_otel.compat`."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """A module spec for one of the names; None for every other module of the process."""
        if name not in self.names:
            return None
        from payi_otel import compat

        return compat.find_spec(name)


sys.meta_path.insert(0, _Finder("payi.lib.instrument", "payi.lib.helpers"))
sys.meta_path.append(_Finder("payi", "payi.lib"))
