"""Rate limits that no machine reaches, for every test that is not about limits.

With the defaults, many tests that sign in as one person, from one address and at one server, would reach a
limit on a fast machine. A test about a limit sets that limit itself.
"""

from __future__ import annotations

from typing import Any

from oauth_core.settings.rates import RateSettings

_MOST = 1_000_000
"""The largest value of each of these settings."""

OF_ENVOY: dict[str, Any] = {"web_rate": _MOST, "web_rate_per_address": _MOST}
"""Fields of `EnvoySettings`."""

UNREACHABLE = {name.upper(): str(_MOST) for name in (*RateSettings.model_fields, *OF_ENVOY)}
"""Variables for the environment of `oauth_web` and of `portcullis up`."""

USUAL = {name.upper(): str(field.default) for name, field in RateSettings.model_fields.items()}
"""The limits that apply by default, for a test of them."""
