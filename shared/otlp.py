"""Starts the export by OTLP where a deployment enables it, by an app setting and two more requirements.

It starts here because a worker process starts before it knows the app's settings: neither `opentelemetry-instrument`
nor a sitecustomize on PYTHONPATH would see them. They are set when the app is loaded. Where the worker itself
has set up Azure Monitor, that is kept.
"""

import logging
from collections.abc import Mapping

from opentelemetry import trace

ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_"))
"""OpenTelemetry's own settings. Any of them enables the export."""
REQUIREMENTS = ("opentelemetry-distro", "opentelemetry-exporter-otlp-proto-http")


def export_if_configured(env: Mapping[str, str]) -> None:
    """Run OpenTelemetry's own auto-configuration, which reads all its other settings. Never raises."""
    setting = next((name for name in ENDPOINTS if env.get(name)), None)
    if setting is None:
        return
    try:
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # none is set up yet
            from opentelemetry.instrumentation import auto_instrumentation  # noqa: PLC0415  most deployments lack it

            auto_instrumentation.initialize(swallow_exceptions=False)
    except Exception as error:  # noqa: BLE001  carts are bought without telemetry too
        logging.getLogger("cart_checkout").warning(
            "%s is set, but nothing is exported (%s); it needs %s",
            setting,
            type(error).__name__,
            " and ".join(REQUIREMENTS),
        )
