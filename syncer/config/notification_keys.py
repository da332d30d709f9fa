"""The keys under `notifications`: whom to tell what has happened, and in which words."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema

from syncer.config import scalars
from syncer.config.keys import Keys

_TREE = {"type": "object", "minProperties": 1, "examples": [{"summary": "{text}", "severity": "{kind}"}]}

Url: TypeAlias = Annotated[SecretStr, BeforeValidator(scalars.web_url)]

Kind: TypeAlias = Literal["failure", "recovery", "degradation"]


def _some(value: object) -> object:
    if value == []:
        raise ValueError("expected at least one kind")
    return value


class WebhookKeys(Keys):
    """Where JSON is posted to when something is worth telling."""

    url: Url | None = Field(
        default=None,
        description="URL to post to, such as a Slack incoming webhook; best as a variable, for it is a secret.",
    )
    kinds: Annotated[
        tuple[Kind, ...], BeforeValidator(_some, json_schema_input_type=Annotated[list[Kind], Field(min_length=1)])
    ] = Field(
        default=("failure", "recovery", "degradation"),
        description="What is told: failed runs, that all is well again, and what works but got worse.",
    )
    template: Annotated[str, BeforeValidator(scalars.template)] | None = Field(
        default=None,
        description="The text, with fields such as `{mapping}` and `{message}`.",
    )
    body: Annotated[dict[str, Any], BeforeValidator(scalars.body), WithJsonSchema(_TREE)] | None = Field(
        default=None,
        description='The JSON to post instead of `{"text": ...}`, for receivers that are not like Slack.',
    )


class PingKeys(Keys):
    """A dead man's switch: an address that hears from us while all is well, and raises the alarm when it does not."""

    url: Url | None = Field(
        default=None,
        description="URL to get when all mappings are well; with `{mapping}` in it, when that mapping's run succeeds.",
    )
    failure_url: Url | None = Field(
        default=None, description="URL to get when a run has failed; `{mapping}` as in `url`."
    )


class NotificationsKeys(Keys):
    """Who is told without looking."""

    webhook: WebhookKeys = Field(
        default={}, validate_default=True, description="Where failures, recoveries and degradations are told."
    )
    ping: PingKeys = Field(
        default={}, validate_default=True, description="What notices when nothing is told because nothing runs."
    )
