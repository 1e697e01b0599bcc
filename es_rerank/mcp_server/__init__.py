"""The server of ``es-rerank mcp``: tools of the Model Context Protocol (MCP) that read indices.

``arguments`` and ``answers`` are the forms of what comes and goes, ``tools`` searches, ``server`` speaks the
protocol, ``http`` and ``stdio`` carry it. Importing this package raises MissingExtraError if the SDK is not
installed.
"""

from ..extras import missing_extra

try:
    import mcp as _mcp  # noqa: F401 only whether it is there
except ModuleNotFoundError as error:
    _what = f"the MCP server needs {error.name}, which is not installed"
    raise missing_extra(_what, "mcp") from error
