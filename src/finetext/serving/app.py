"""The ASGI application: its routes, wrapped in request limits, access control and the access log."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from finetext.decision import confidence
from finetext.inference import Classifier, find_spans, leave_one_out
from finetext.models import probabilities
from finetext.serving import schemas
from finetext.serving.access import AccessControl
from finetext.serving.access_log import AccessLog
from finetext.serving.batcher import Batcher
from finetext.serving.errors import STATUSES, ApiError, internal_error
from finetext.serving.http import PUBLIC_ROUTES
from finetext.serving.model_info import describe
from finetext.serving.request_limits import RequestLimits
from finetext.serving.service import Service
from finetext.serving.settings import LIMITS

STATIC = Path(__file__).with_name("static")
"""The page's files, served below `/static/`."""


def build_app(service: Service, token: str | None) -> ASGIApp:
    """Return the ASGI application that serves the models of `service`.

    Args:
        service: The models.
        token: The bearer token that clients must send, None for no authentication.
    """
    from finetext import __version__

    app = FastAPI(
        title="finetext",
        version=__version__,
        description="Text classification.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict.fromkeys(
            (ApiError, RequestValidationError, HTTPException, Exception), _refuse
        ),
    )
    _add_inference(app, service)
    _add_state(app, service)
    _add_pages(app, token is not None)
    return AccessLog(AccessControl(RequestLimits(app, service), service.config, token), service)


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": schemas.ErrorResponse, "description": STATUSES[code][1]} for code in codes}


def _add_inference(app: FastAPI, service: Service) -> None:
    errors = _errors(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504)

    @app.post("/classify", response_model=schemas.ClassifyResponse, responses=errors, tags=["texts"])
    async def classify(body: schemas.ClassifyRequest, request: Request) -> Response:
        """Label texts by the decision rule saved with the model, with the probability of every label."""
        texts = body.all_texts()
        name, batcher = _accept(request, service, body.model, texts)
        classifier = batcher.classifier
        rows = probabilities(await service.run(batcher, texts, request), classifier.task)
        predictions = [_prediction(classifier, row, body.top_k) for row in rows]
        return _json({"model": name, "predictions": predictions})

    @app.post("/explain", response_model=schemas.ExplainResponse, responses=errors, tags=["texts"])
    async def explain(body: schemas.ExplainRequest, request: Request) -> Response:
        """Explain which words of a text speak for a label and which against it, by leaving out each once.

        In a long text neighbouring words are left out together, to stay within the limits of a request.
        """
        name, batcher = _accept(request, service, body.model, [body.text])
        classifier = batcher.classifier
        if body.label is not None and body.label not in classifier.class_names:
            raise ApiError(422, "label: the model has no such label; /info lists them.")
        # As many variants of the text as a request may hold.
        limits = service.config
        most = max(1, min(limits.max_texts - 1, limits.max_body // max(1, len(body.text))))
        spans = find_spans(body.text, most)
        texts = leave_one_out(body.text, spans)
        request.scope["finetext"].update(variants=len(texts))
        logits = await service.run(batcher, texts, request)
        explanation = classifier.explanation(body.text, spans, logits, body.label)
        return _json({"model": name, **explanation.to_dict()})

    @app.post(
        "/predict",
        response_model=list[schemas.Score] | list[list[schemas.Score]],
        responses=errors,
        tags=["texts"],
    )
    async def predict(body: schemas.PredictRequest, request: Request) -> Response:
        """Return the probability of every label, with the interface of text-embeddings-inference."""
        texts = body.all_texts()
        _, batcher = _accept(request, service, body.model, texts)
        logits = await service.run(batcher, texts, request, whole=not body.truncate)
        classifier = batcher.classifier
        values = logits if body.raw_scores else probabilities(logits, classifier.task)
        scores = [classifier.rank(row) for row in values]
        return _json(scores if body.batch else scores[0])


def _accept(
    request: Request, service: Service, model: str | None, texts: Sequence[str]
) -> tuple[str, Batcher]:
    """Return the model of a request, note what the access log says of it, and refuse one that exceeds a limit."""
    name, batcher = service.find(model)
    characters = [len(text) for text in texts]
    request.scope["finetext"].update(model=name, texts=len(texts), characters=sum(characters))
    limit = service.config.max_texts
    if len(texts) > limit:
        raise ApiError(
            422, f"The request has {len(texts)} texts; the limit is {limit}.", ("max_texts", limit)
        )
    longest, limit = max(characters, default=0), service.config.max_characters
    if longest > limit:
        message = f"A text has {longest} characters; the limit is {limit}."
        raise ApiError(422, message, ("max_characters", limit))
    return name, batcher


def _prediction(classifier: Classifier, probs: NDArray[np.float32], top_k: int | None) -> dict[str, Any]:
    """Return what the model's saved decision rule makes of a text's probabilities `(C,)`."""
    labels = list(classifier.decide(probs))
    label = labels[0] if labels else None
    score = float(confidence(probs[None], classifier.task, classifier.decision)[0])
    if classifier.task == "multi-label" and labels:
        best = next(item for item in classifier.rank(probs) if item["label"] in labels)
        label, score = best["label"], best["score"]
    return {"label": label, "score": score, "labels": labels, "scores": classifier.rank(probs, top_k)}


def _json(content: Any) -> Response:
    # Not validated: the response models are for the documentation, and checking our own answers would cost more than
    # making them.
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _add_state(app: FastAPI, service: Service) -> None:
    private, public = _errors(401, 403, 500), _errors(403, 500)

    @app.get("/health", response_model=schemas.Status, responses=public, tags=["state"])
    async def health() -> Response:
        """Tell that the process is alive."""
        return JSONResponse({"status": "alive"})

    @app.get("/ready", response_model=schemas.Status, responses=public | _errors(503), tags=["state"])
    async def ready() -> Response:
        """Tell whether every model is loaded and warm, and work is taken."""
        if service.draining:
            raise ApiError(503, "The server is shutting down.")
        if not service.ready:
            raise ApiError(503, "The models are being loaded.", headers={"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/info", response_model=schemas.Info, responses=private, tags=["state"])
    async def info() -> Response:
        """List the served models with their labels and thresholds, and the limits of requests."""
        content = {
            "version": app.version,
            "default_model": service.names[0],
            "models": [describe(name, classifier) for name, classifier in service.classifiers.items()],
            "limits": {name: getattr(service.config, name) for name in LIMITS},
        }
        return JSONResponse(content)

    @app.get("/card", response_model=schemas.ModelCard, responses=private | _errors(422, 503), tags=["state"])
    async def card(
        model: Annotated[str | None, Query(description="Which model; by default the first.")] = None,
    ) -> Response:
        """Return a model's card and, if a run's folder is served, its metrics on the test split."""
        name, _ = service.find(model)
        return JSONResponse({"model": name, **service.cards[name]})

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **private},
        tags=["state"],
    )
    async def metrics() -> Response:
        """Return the server's metrics for Prometheus."""
        page, media_type = service.metrics.page()
        return Response(page, media_type=media_type)


def _add_pages(app: FastAPI, with_token: bool) -> None:
    schema = _openapi(app, with_token)
    templates = Environment(
        loader=PackageLoader("finetext.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("docs.html").render(schema)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(schema)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _openapi(app: FastAPI, with_token: bool) -> dict[str, Any]:
    schema = app.openapi()
    if with_token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in schema["paths"].keys() - PUBLIC_ROUTES:
            for operation in schema["paths"][path].values():
                operation["security"] = [{"token": []}]
    return schema


async def _refuse(request: Request, error: Exception) -> Response:
    return _api_error(error).response()


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        _, message = STATUSES.get(error.status_code, ("", "The request is refused."))
        return ApiError(error.status_code, message, headers=error.headers)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return ApiError(400, STATUSES[400][1])
        field = ".".join(str(part)[:40] for part in first["loc"][1:4])
        message = str(first["msg"]).removeprefix("Value error, ")
        return ApiError(422, f"{field}: {message}." if field else f"{message}.")
    return internal_error()  # the error is logged by the access log
