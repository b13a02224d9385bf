"""Saves the secrets of a night's test as Prefect blocks, as a user does in the UI; reads them from standard input.

The block type is prefect-aws's "AWS Credentials" with the fields that matter; that package need not be installed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from pydantic import Field, SecretStr


class AwsCredentials(Block):
    _block_type_name = "AWS Credentials"
    _block_type_slug = "aws-credentials"

    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    region_name: str | None = None
    aws_client_parameters: dict[str, Any] = Field(default_factory=dict)


def main() -> None:
    given = json.load(sys.stdin)
    Secret(value=given["token"]).save("hub-token")
    AwsCredentials(
        aws_access_key_id=given["key"],
        aws_secret_access_key=SecretStr(given["secret"]),
        region_name="us-east-1",
        aws_client_parameters={"endpoint_url": given["endpoint_url"]},
    ).save("night-s3")
    CustomWebhookNotificationBlock(
        name="alarm", url=given["webhook"], json_data={"subject": "{{subject}}", "body": "{{body}}"}
    ).save("alarm")


if __name__ == "__main__":
    main()
