"""The ten-line server to compare with: a FastAPI endpoint that calls transformers' pipeline.

`python -m benchmarks.plain_server FOLDER PORT`.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Question(BaseModel):
    """A text to label."""

    text: str


def build_app(folder: str) -> FastAPI:
    """Return the application; its endpoint is a plain function, so that FastAPI runs it in its thread pool."""
    app = FastAPI()
    classify = pipeline("text-classification", model=folder, device="cpu", truncation=True)

    @app.post("/classify")
    def answer(question: Question) -> Any:
        return classify(question.text, top_k=None)

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    return app


if __name__ == "__main__":
    uvicorn.run(build_app(sys.argv[1]), port=int(sys.argv[2]), log_level="error", access_log=False)
