"""Starts the export by OTLP where a deployment enables it, by an app setting and two more requirements.

It starts here because a worker process starts before it knows the app's settings: neither `opentelemetry-instrument`
nor a sitecustomize on PYTHONPATH would see them. They are set when the app is loaded. Where the worker itself
has set up Azure Monitor, that is kept.
"""

import logging
from collections.abc import Mapping
from importlib import metadata

from opentelemetry import trace

ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_"))
"""OpenTelemetry's own settings. Any of them enables the export."""
PROTOCOL, DEFAULT_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
"""Which exporter is loaded, and the default of OpenTelemetry's distribution for Python, whose exporter is another
package than the one in REQUIREMENTS."""
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
            "%s is set, but nothing is exported (%s); %s", setting, type(error).__name__, _advise(error, env)
        )


def _advise(error: Exception, env: Mapping[str, str]) -> str:
    """What to do: the first of the causes that applies. Values are not repeated, since a header may hold a key."""
    if isinstance(error, ImportError) or not all(map(_is_installed, REQUIREMENTS)):
        return f"it needs {' and '.join(REQUIREMENTS)}"
    if env.get(PROTOCOL, DEFAULT_PROTOCOL).strip() != "http/protobuf":
        return f"set {PROTOCOL} to http/protobuf, which is what the installed exporter speaks: the default is grpc"
    return "one of the OTEL_ settings has a wrong value, or names what is not installed"


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
