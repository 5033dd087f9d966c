"""The application: its routes, and the layers in front of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from finetext.inference import find_spans, variants
from finetext.models import probabilities
from finetext.serving import schemas
from finetext.serving.access import Gate
from finetext.serving.access_log import Watch
from finetext.serving.docs import docs_page
from finetext.serving.errors import Refusal, internal_error
from finetext.serving.http import HUNG_UP, OPEN, App
from finetext.serving.request_limits import Limits
from finetext.serving.service import ClientGone, Service
from finetext.serving.settings import LIMITS

STATIC = Path(__file__).with_name("static")
"""The pages' files, served below `/static/`; an `index.html` among them is the page at `/`."""

_MEANINGS = {
    400: "The body is no JSON.",
    401: "The token is missing or wrong.",
    403: "A foreign Host or Origin.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body is compressed, or is not called JSON.",
    422: "The body has another shape, or goes over a limit.",
    429: "The queue is full, or too many requests are in work; Retry-After says when to come again.",
    500: "The server failed.",
    503: "The models are being loaded, or the server is shutting down.",
    504: "The answer took too long.",
}
_WORK = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504)
_SMALL = (401, 403, 500)
_PUBLIC = (403, 500)


def build_app(service: Service, token: str | None) -> App:
    """Return the ASGI application that serves the models of `service`.

    Args:
        service: The models.
        token: What clients must send, None to ask for nothing.
    """
    app = FastAPI(title="finetext", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _add_work(app, service)
    _add_watch(app, service)
    _add_pages(app, token is not None)
    _add_errors(app)
    return Watch(Gate(Limits(app, service), service.config, token), service)


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": schemas.Problem, "description": _MEANINGS[code]} for code in codes}


def _add_work(app: FastAPI, service: Service) -> None:
    @app.post("/classify", response_model=schemas.ClassifyAnswer, responses=_problems(*_WORK), tags=["texts"])
    async def classify(body: schemas.ClassifyRequest, request: Request) -> Response:
        """Label texts by the rule saved with the model, and give every label's probability."""
        texts = body.all_texts()
        name, batcher = service.find(body.model)
        _note(request, service, name, texts)
        try:
            logits = await service.run(batcher, texts, request.scope["finetext.deadline"], request.receive)
        except ClientGone:
            return Response(status_code=HUNG_UP)
        classifier = batcher.classifier
        probs = probabilities(logits, classifier.task)
        found = [schemas.prediction(classifier, row, body.top_k) for row in probs]
        return _reply({"model": name, "predictions": found})

    @app.post("/explain", response_model=schemas.ExplainAnswer, responses=_problems(*_WORK), tags=["texts"])
    async def explain(body: schemas.ExplainRequest, request: Request) -> Response:
        """Say which words of a text speak for a label and which against it: each is left out once.

        In a long text neighbouring words are left out together, so that no more is run than one request may ask for.
        """
        name, batcher = service.find(body.model)
        classifier = batcher.classifier
        _note(request, service, name, [body.text])
        if body.label is not None and body.label not in classifier.class_names:
            raise Refusal(422, "label: the model has no such label; /info lists them.")
        spans = find_spans(body.text, _most_spans(service, body.text))
        texts = variants(body.text, spans)
        request.scope["finetext"].update(variants=len(texts))
        deadline = request.scope["finetext.deadline"]
        try:
            logits = await service.run(batcher, texts, deadline, request.receive)
        except ClientGone:
            return Response(status_code=HUNG_UP)
        found = classifier.explanation(body.text, spans, logits, body.label)
        return _reply({"model": name, **found.to_dict()})

    @app.post(
        "/predict",
        response_model=list[schemas.Score] | list[list[schemas.Score]],
        responses=_problems(*_WORK),
        tags=["texts"],
    )
    async def predict(body: schemas.PredictRequest, request: Request) -> Response:
        """Give every label's probability, in the shape of text-embeddings-inference."""
        texts = body.all_texts()
        name, batcher = service.find(body.model)
        _note(request, service, name, texts)
        deadline = request.scope["finetext.deadline"]
        try:
            logits = await service.run(batcher, texts, deadline, request.receive, whole=not body.truncate)
        except ClientGone:
            return Response(status_code=HUNG_UP)
        classifier = batcher.classifier
        values = logits if body.raw_scores else probabilities(logits, classifier.task)
        found = [schemas.ranked(classifier.class_names, row) for row in values]
        return _reply(found if body.batch else found[0])


def _note(request: Request, service: Service, model: str, texts: Sequence[str]) -> None:
    """Put what the log says of a request beside it, and refuse what goes over a limit."""
    characters = [len(text) for text in texts]
    request.scope["finetext"].update(model=model, texts=len(texts), characters=sum(characters))
    config = service.config
    if len(texts) > config.max_texts:
        raise Refusal(
            422,
            f"The request has {len(texts)} texts; the limit is {config.max_texts}.",
            ("max_texts", config.max_texts),
        )
    longest = max(characters, default=0)
    if longest > config.max_characters:
        raise Refusal(
            422,
            f"A text has {longest} characters; the limit is {config.max_characters}.",
            ("max_characters", config.max_characters),
        )


def _most_spans(service: Service, text: str) -> int:
    """Return how many words may be left out: with the variants an explanation is as large as a request may be."""
    config = service.config
    return max(1, min(config.max_texts - 1, config.max_body // max(1, len(text))))


def _reply(content: Any) -> Response:
    # Ready-made: the schema is for the documentation, and checking our own answer against it would cost more
    # than making it.
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _add_watch(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=schemas.Status, responses=_problems(*_PUBLIC), tags=["state"])
    async def health() -> Response:
        """Tell that the process lives."""
        return JSONResponse({"status": "alive"})

    @app.get("/ready", response_model=schemas.Status, responses=_problems(*_PUBLIC, 503), tags=["state"])
    async def ready() -> Response:
        """Tell whether every model is loaded and warm, and work is taken."""
        if service.draining:
            raise Refusal(503, "The server is shutting down.")
        if not service.ready:
            raise Refusal(503, "The models are being loaded.", headers={"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/info", response_model=schemas.Info, responses=_problems(*_SMALL), tags=["state"])
    async def info() -> Response:
        """Tell which models are served, their labels and thresholds, and the limits."""
        from finetext import __version__

        loaded = service.classifiers
        return JSONResponse(
            {
                "version": __version__,
                "default_model": service.names[0],
                "models": [schemas.describe(name, loaded[name]) for name in service.names if name in loaded],
                "limits": {name: getattr(service.config, name) for name in LIMITS},
            }
        )

    @app.get("/card", response_model=schemas.Card, responses=_problems(*_SMALL, 422, 503), tags=["state"])
    async def card(
        model: Annotated[str | None, Query(description="Which model; by default the first.")] = None,
    ) -> Response:
        """Give a model's card, and its figures on the test split where a run's folder is served."""
        name, _ = service.find(model)
        return JSONResponse({"model": name, **service.about[name]})

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **_problems(*_SMALL)},
        tags=["state"],
    )
    async def metrics() -> Response:
        """Give the figures that Prometheus reads."""
        page, kind = service.metrics.page()
        return Response(page, media_type=kind)


def _add_pages(app: FastAPI, with_token: bool) -> None:
    schema = _openapi(app, with_token)
    page = docs_page(schema)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(schema)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        own = STATIC / "index.html"
        return FileResponse(own) if own.is_file() else RedirectResponse("/docs")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _openapi(app: FastAPI, with_token: bool) -> dict[str, Any]:
    from finetext import __version__

    schema = get_openapi(
        title="finetext", version=__version__, description="Text classification.", routes=app.routes
    )
    if with_token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in schema["paths"].items():
            if path not in OPEN:
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
    return schema


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _answer(Refusal(400, "The body is no JSON."))
        place = ".".join(str(part)[:40] for part in first["loc"][1:4])
        message = str(first["msg"]).removeprefix("Value error, ")
        return _answer(Refusal(422, f"{place}: {message}." if place else f"{message}."))

    @app.exception_handler(HTTPException)
    async def refused_by_route(request: Request, error: HTTPException) -> Response:
        known = {
            400: "The body is no JSON that can be read.",
            404: "No such page.",
            405: "Not by this method.",
        }
        message = known.get(error.status_code, "The request is refused.")
        return _answer(Refusal(error.status_code, message, headers=error.headers))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _answer(internal_error())  # what failed is logged on its way out


def _answer(refusal: Refusal) -> Response:
    return Response(refusal.body(), refusal.status, headers=refusal.headers, media_type="application/json")
