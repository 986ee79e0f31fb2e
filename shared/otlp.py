"""Exporting by OTLP, where a deployment asks for it: an app setting and two requirements more, no code of its own.

It begins here, because nothing else can do it without code. A worker is started before it knows the app's settings,
so neither `opentelemetry-instrument` nor a sitecustomize on PYTHONPATH would see them; when the app is loaded, all
are there. Where the worker itself has set up Azure Monitor, that is left alone.
"""

import logging
from collections.abc import Mapping

from opentelemetry import trace

ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_"))
"""OpenTelemetry's own settings; one of them asks."""
REQUIREMENTS = ("opentelemetry-distro", "opentelemetry-exporter-otlp-proto-http")


def export_where_asked(env: Mapping[str, str]) -> None:
    """Run OpenTelemetry's own auto-configuration, which reads all the rest of its settings. Never raises."""
    asked = next((name for name in ENDPOINTS if env.get(name)), None)
    if asked is None:
        return
    try:
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set up another
            from opentelemetry.instrumentation import auto_instrumentation  # noqa: PLC0415  most deployments lack it

            auto_instrumentation.initialize(swallow_exceptions=False)
    except Exception as error:  # noqa: BLE001  whatever it is: carts are bought without telemetry too
        logging.getLogger("cart_checkout").warning(
            "%s is set, but nothing is exported (%s); it needs %s",
            asked,
            type(error).__name__,
            " and ".join(REQUIREMENTS),
        )
