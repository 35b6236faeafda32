"""The report: one page of HTML with its style, its script and its data in it, which asks no network for anything."""

from payi_otel.captures.page._page import Source, to_page

__all__ = ["Source", "to_page"]
