"""The JSON Schema of the file, made from the model, for editors. No rule of its own lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.json_schema import GenerateJsonSchema

#: a variable stands wherever a number, a boolean or a word may
_VARIABLE: dict[str, Any] = {"type": "string", "pattern": r"^\$\{.*\}$"}


def json_schema() -> dict[str, object]:
    """Schema of the configuration file, draft 2020-12."""
    from syncer.config.model import FileKeys  # slow to import

    schema = FileKeys.model_json_schema(schema_generator=_generator(), mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "syncer configuration",
    }


def _generator() -> type[GenerateJsonSchema]:
    from pydantic.json_schema import GenerateJsonSchema

    class WithVariables(GenerateJsonSchema):
        """Leaves out titles that only repeat the key, and lets a variable stand for what is no text."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def int_schema(self, schema: Any) -> dict[str, Any]:
            return {"anyOf": [super().int_schema(schema), _VARIABLE]}

        def float_schema(self, schema: Any) -> dict[str, Any]:
            return {"anyOf": [super().float_schema(schema), _VARIABLE]}

        def bool_schema(self, schema: Any) -> dict[str, Any]:
            return {"anyOf": [super().bool_schema(schema), _VARIABLE]}

        def literal_schema(self, schema: Any) -> dict[str, Any]:
            return {"anyOf": [super().literal_schema(schema), _VARIABLE]}

    return WithVariables
