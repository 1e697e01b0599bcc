"""Keys and addresses of the services that models may be."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """API keys and addresses of services; a field that is None leaves the choice to the service's own
    default.
    """

    cohere_api_key: SecretStr | None = None
    cohere_url: str | None = None
    remote_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    openai_url: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Return the keys and addresses that the settings hold."""
        return cls(
            settings.cohere_api_key,
            settings.cohere_url,
            settings.remote_api_key,
            settings.openai_api_key,
            settings.openai_url,
        )
