"""A response has no key that its client's types do not know, unless the request asked for it."""

from pydantic import BaseModel


def unknown_keys(value, path="$"):
    """The paths of all keys that are not in the types, at any depth."""
    if isinstance(value, BaseModel):
        found = [f"{path}.{key}" for key in value.model_extra or {}]
        for name in type(value).model_fields:
            found += unknown_keys(getattr(value, name, None), f"{path}.{name}")
        return found
    if isinstance(value, (list, tuple)):
        return [key for i, item in enumerate(value) for key in unknown_keys(item, f"{path}[{i}]")]
    return []


def check(model, *asked):
    """Nothing but the keys that were asked for is outside the types; returns the model."""
    unasked = [key for key in unknown_keys(model) if key not in asked]
    assert unasked == [], f"{unasked} in {model.model_dump_json()}"
    return model
