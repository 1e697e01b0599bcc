"""The server of ``es-rerank mcp``: tools of the Model Context Protocol (MCP) that read indices.

``arguments`` and ``answers`` are the forms of what comes and goes, ``tools`` searches, ``server`` speaks the
protocol, ``http`` and ``stdio`` carry it. Importing this package raises MissingExtraError if the SDK is not
installed.
"""

from ..errors import MissingExtraError

try:
    import mcp as _mcp  # noqa: F401 only whether it is there
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"the MCP server needs {error.name}, which is not installed; "
        "install the extra with: pip install 'es-rerank[mcp]'",
        extra="mcp",
    ) from error
