"""A client for an S3 server, and its failures said so that a user can act on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bevformer_lib.errors import StoreError, StoreUnreachableError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

CONNECTIONS: Final = 16
_ATTEMPTS: Final = 5
_SHOWN_CHARACTERS: Final = 200
_CONNECT_SECONDS, _READ_SECONDS = 10, 60

_NO_CREDENTIALS = "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE) or a Prefect AWS block"
_ADVICE: Final = {
    "NoSuchBucket": "the bucket does not exist; create it, or correct the name or AWS_ENDPOINT_URL_S3",
    "AccessDenied": "access is forbidden; check the credentials and the bucket's policy: reading, writing and listing "
    "are needed",
    "InvalidAccessKeyId": "the server does not know this access key; correct the credentials",
    "SignatureDoesNotMatch": "the server refuses the secret key; correct the credentials",
    "ExpiredToken": "the session token has expired; log in again",
    "InvalidToken": "the session token is not valid; log in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it (timedatectl set-ntp true)",
    "QuotaExceeded": "the bucket's quota is used up; free some space (bevformer store gc) and run again",
    "NotImplemented": "the server lacks what this product needs (conditional writes); see docs/store.md for servers "
    "that have it",
}
_SAME_AS: Final = {
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "XMinioStorageFull": "QuotaExceeded",
    "EntityTooLarge": "QuotaExceeded",
    "AllAccessDisabled": "AccessDenied",
}
_BUSY: Final = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "RequestTimeout",
    }
)
_BUSY_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_DIGEST_REFUSED: Final = frozenset(
    {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "XAmzContentChecksumMismatch"}
)


@dataclass(frozen=True)
class S3Credentials:
    """Who asks, and where; what is left out comes from the usual chain (environment, profile, instance role).

    Attributes:
        access_key_id: not secret, but not shown either.
        secret_access_key: never shown.
        session_token: of temporary credentials; never shown.
        region: of the bucket.
        endpoint_url: of the server, for other servers than AWS's own.
        profile: a profile of the AWS configuration files.
    """

    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)
    profile: str | None = None


def make_client(credentials: S3Credentials, uri: str) -> S3Client:
    """Return a client; nothing is asked of the server yet.

    Requests are signed over their content's sha256, which every server compares with what it received.

    Raises:
        StoreError: the endpoint or the profile can't be used.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    endpoint = credentials.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "@" in endpoint:
        raise StoreError(f"{uri}: the endpoint's URL holds credentials; give them by themselves")
    try:
        session = boto3.Session(
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            region_name=credentials.region,
            profile_name=credentials.profile,
        )
        s3: Any = {"payload_signing_enabled": True, **_addressing(session, endpoint)}
        config = Config(
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            # Many servers refuse the trailing checksums that newer clients send unasked.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3=s3,
        )
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"{uri}: the S3 settings can't be used ({error}); correct them") from None


def _addressing(session: Any, endpoint: str | None) -> dict[str, str]:
    """Return how the bucket is named: as the AWS configuration says, else in the path for servers other than AWS."""
    chosen = (session._session.get_scoped_config().get("s3") or {}).get("addressing_style")
    return {"addressing_style": chosen or ("path" if endpoint else "auto")}


def error_code(error: ClientError) -> str:
    """Return the server's code for what went wrong; for answers without a body this is the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Return whether the server says that there is no such key."""
    return error_code(error) in ("404", "NoSuchKey", "NotFound")


def is_taken(error: ClientError) -> bool:
    """Return whether a conditional write was refused because the key is there already."""
    return error_code(error) in ("412", "PreconditionFailed")


def is_conflict(error: ClientError) -> bool:
    """Return whether a conditional write has to be tried again: another on the same key was under way."""
    return error_code(error) in ("409", "ConditionalRequestConflict", "OperationAborted", "Conflict")


@contextmanager
def named_s3_errors(uri: str, client: S3Client | None = None) -> Iterator[None]:
    """Turn failures of the server, the way to it and the credentials into a :class:`StoreError` that names the URI.

    What may pass, a server that is away or busy, is a :class:`StoreUnreachableError`.
    The original exception is not chained: what it carries (requests, headers) has no place in a log.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        kind = StoreUnreachableError if _is_busy(error) else StoreError
        raise kind(_say_refused(uri, error)) from None
    except (BotoCoreError, Boto3Error) as error:
        raise _unanswered(uri, error, client) from None
    except (ResponseParserError, ValueError) as error:  # botocore lets what its parsers meet in a broken answer through
        what = str(error).splitlines()[0][:_SHOWN_CHARACTERS] if str(error) else type(error).__name__
        raise StoreUnreachableError(f"{uri}: the server's answer can't be read ({what}); try again") from None


def _is_busy(error: ClientError) -> bool:
    code = error_code(error)
    if _SAME_AS.get(code, code) in _ADVICE:
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code in _BUSY or status in _BUSY_STATUSES


def _say_refused(uri: str, error: ClientError) -> str:
    code = error_code(error)
    code = _SAME_AS.get(code, code)
    if code in _ADVICE:
        return f"{uri}: {_ADVICE[code]}"
    if code in _DIGEST_REFUSED:
        return f"{uri}: what arrived is not what was sent ({code}); run the same command again, and check the network"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    return f"{uri}: the server refuses {error.operation_name} (HTTP {status}, {code}); see the server's log"


def _unanswered(uri: str, error: Exception, client: S3Client | None) -> StoreError:
    from boto3.exceptions import RetriesExceededError
    from botocore.exceptions import (
        ConnectionError,
        CredentialRetrievalError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        PartialCredentialsError,
        SSLError,
        SSOError,
        TokenRetrievalError,
        UnauthorizedSSOTokenError,
    )

    if isinstance(error, SSOError | TokenRetrievalError | UnauthorizedSSOTokenError):
        return StoreError(f"{uri}: the single sign-on of AWS has no valid token; log in: aws sso login")
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return StoreError(f"{uri}: no credentials found; {_NO_CREDENTIALS}")
    endpoint = "the server" if client is None else client.meta.endpoint_url
    if isinstance(error, SSLError):
        return StoreError(
            f"{uri}: {endpoint} shows no certificate that is trusted here; set AWS_CA_BUNDLE to its authority's"
        )
    if isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError | RetriesExceededError):
        return StoreUnreachableError(
            f"{uri}: {endpoint} can't be reached ({type(error).__name__}); check the network and AWS_ENDPOINT_URL_S3, "
            "and run again: finished steps are kept"
        )
    return StoreError(f"{uri}: the request failed ({type(error).__name__}); check the S3 settings")
