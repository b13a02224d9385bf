"""How the hub is reached, and its failures said so that a user can act on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bevformer_lib.errors import SourceError, SourceUnreachableError
from bevformer_lib.source.address import HubAddress

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_SERVER_ERROR: Final = 500
_BUSY_STATUSES: Final = frozenset({408, 429})


@dataclass(frozen=True)
class HubAccess:
    """Who asks the hub, and where; what is left out comes from the environment and the login on this machine.

    Attributes:
        token: for private and gated repositories; never shown. ``HF_TOKEN`` or the saved login if left out.
        endpoint: of the hub or a mirror; ``HF_ENDPOINT`` or the hub itself if left out.
        cache: the cache that all programs on this machine share; ``HF_HUB_CACHE`` or its usual place if left out.
        offline: use only what is in the cache; as ``HF_HUB_OFFLINE`` says if left out.
    """

    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    cache: Path | None = None
    offline: bool | None = None

    @property
    def is_offline(self) -> bool:
        """Whether the network must not be used."""
        from huggingface_hub.constants import is_offline_mode

        return is_offline_mode() if self.offline is None else self.offline

    @property
    def cache_folder(self) -> Path:
        """The shared cache."""
        from huggingface_hub.constants import HF_HUB_CACHE

        return self.cache or Path(HF_HUB_CACHE)

    @property
    def endpoint_url(self) -> str:
        """Where the hub is asked."""
        from huggingface_hub.constants import ENDPOINT

        return (self.endpoint or ENDPOINT).rstrip("/")

    def api(self) -> HfApi:
        """Return the hub's client."""
        from huggingface_hub import HfApi

        if "@" in self.endpoint_url:
            raise SourceError("HF_ENDPOINT: the address holds credentials; give them as HF_TOKEN")
        return HfApi(endpoint=self.endpoint_url, token=self.token, library_name="bevformer-axera")


_current: ContextVar[HubAccess | None] = ContextVar("hub_access", default=None)


def current_hub_access() -> HubAccess:
    """Return how this run reaches the hub; what was not chosen comes from the environment."""
    return _current.get() or HubAccess()


@contextmanager
def using_hub_access(access: HubAccess) -> Iterator[None]:
    """Reach the hub like this within the block, in every call."""
    token = _current.set(access)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def named_hub_errors(address: HubAddress, access: HubAccess) -> Iterator[None]:
    """Turn failures of the hub and the way to it into a :class:`SourceError` that names the address.

    What may pass, a hub that is away or busy, is a :class:`SourceUnreachableError`.
    The original exception is not chained: what it carries (requests, headers) has no place in a log.
    """
    from httpx2 import HTTPError  # what huggingface_hub is made with
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise SourceError(
            f"{address.uri}: the repository is gated; accept its terms at {access.endpoint_url}/{address.repo} with "
            "the account of your token"
        ) from None
    except RepositoryNotFoundError:
        known = "the token given has no access to it" if _has_token(access) else "it is private: set HF_TOKEN"
        raise SourceError(
            f"{address.uri}: {access.endpoint_url} has no repository {address.repo}, or {known}"
        ) from None
    except RevisionNotFoundError:
        raise SourceError(
            f"{address.uri}: the repository has no revision {address.revision}; {access.endpoint_url}/{address.repo}/"
            "commits lists its commits"
        ) from None
    except HFValidationError as error:
        raise SourceError(f"{address.uri}: {error}") from None
    except (KeyError, TypeError, AttributeError, RecursionError, JSONDecodeError) as error:
        raise SourceError(
            f"{address.uri}: {access.endpoint_url} answers with what no hub says ({type(error).__name__}); correct "
            "HF_ENDPOINT, or try another mirror"
        ) from None
    except OfflineModeIsEnabled:
        raise SourceError(f"{address.uri}: {OFFLINE_ADVICE}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "correct HF_TOKEN" if status in (401, 403) else "try again later, or another mirror (HF_ENDPOINT)"
        kind = SourceUnreachableError if status >= _SERVER_ERROR or status in _BUSY_STATUSES else SourceError
        raise kind(f"{address.uri}: {access.endpoint_url} answers with HTTP {status}; {advice}") from None
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise SourceUnreachableError(
            f"{address.uri}: {access.endpoint_url} can't be reached ({type(error).__name__}); check the network, set "
            "HF_ENDPOINT to a mirror, or HF_HUB_OFFLINE=1 to use what was fetched before; what has arrived is kept"
        ) from None


OFFLINE_ADVICE = (
    "is not in the cache, and the hub must not be asked (HF_HUB_OFFLINE); run the same command once with a network"
)


def _has_token(access: HubAccess) -> bool:
    from huggingface_hub import get_token

    return bool(access.token or os.environ.get("HF_TOKEN") or get_token())
