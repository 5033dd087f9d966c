"""Metrics for Prometheus, served at `/metrics`."""

from collections.abc import Callable
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TEXTS = tuple(2.0**n for n in range(10))
TOKENS = tuple(2.0**n for n in range(3, 15))


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._requests = counter(
            "finetext_requests",
            "Requests by route and status; 499 is a client that hung up before its answer.",
            ["route", "status"],
        )
        self._seconds = histogram(
            "finetext_request_seconds",
            "Seconds from a request's head to that of its response.",
            ["route"],
            buckets=SECONDS,
        )
        self.in_flight = gauge("finetext_in_flight_requests", "Requests for a model in progress.")
        self.queue = gauge("finetext_queue_texts", "Texts in the queue.", ["model"])
        self._texts = histogram("finetext_batch_texts", "Texts of a batch.", ["model"], buckets=TEXTS)
        self._tokens = histogram(
            "finetext_batch_tokens", "Tokens of a batch, without padding.", ["model"], buckets=TOKENS
        )
        self.reloads = counter("finetext_reloads", "Reloads by outcome.", ["outcome"])
        # `labels` validates its values and takes a lock each time; there are few different ones.
        self._counter = cache(self._requests.labels)
        self._histogram = cache(self._seconds.labels)

    def answered(self, route: str, status: int | None, seconds: float | None = None) -> None:
        """Count a response, and record how long its request took."""
        self._counter(route, str(status)).inc()
        if seconds is not None:
            self._histogram(route).observe(seconds)

    def batches_of(self, model: str) -> Callable[[int, int], None]:
        """Return a function that records the texts and tokens of each batch of a model."""
        texts, tokens = self._texts.labels(model), self._tokens.labels(model)

        def observe(batch_texts: int, batch_tokens: int) -> None:
            texts.observe(batch_texts)
            tokens.observe(batch_tokens)

        return observe

    def page(self) -> tuple[bytes, str]:
        """Return all metrics as text, and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
