"""Backbones, heads and tokenizers: finding, checking, loading, training parts of, and saving them."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.models.adapters import merge_adapter, save_adapter
    from finetext.models.anatomy import Anatomy
    from finetext.models.bundle import (
        is_exported,
        load_bundle,
        load_exported,
        read_bundle,
        save_bundle,
        save_companions,
        save_config,
    )
    from finetext.models.catalogue import ALIASES, CATALOGUE, Entry
    from finetext.models.causal import LanguageModel, continue_text, load_language_model, require_causal
    from finetext.models.decision import LIKELIEST, Decision, abstains, confidence, decide
    from finetext.models.depths import Depths, parameters_by_depth, pooled_by_depth
    from finetext.models.encoding import TextEncoder, load_tokenizer, position_limit
    from finetext.models.guard import check_folder
    from finetext.models.head import head_inputs, output_layer, set_output_layer
    from finetext.models.loading import load_model
    from finetext.models.model import BundleSettings, Model
    from finetext.models.onnx_export import quantize, write_onnx
    from finetext.models.onnx_network import ONNX
    from finetext.models.predict import predict_logits, probabilities
    from finetext.models.prompting import Prompter, Question, class_probabilities, default_questions
    from finetext.models.publishing import Upload, find_token, plan_upload, push
    from finetext.models.source import ModelSource, digest_model, find_model
    from finetext.models.summary import ModelSummary, describe
    from finetext.models.trainable import set_trainable, trained_blocks, trained_parameters
    from finetext.models.trunk import make_trunk, mean_vectors, two_thirds

__all__ = [
    "ALIASES",
    "CATALOGUE",
    "LIKELIEST",
    "ONNX",
    "Anatomy",
    "BundleSettings",
    "Decision",
    "Depths",
    "Entry",
    "LanguageModel",
    "Model",
    "ModelSource",
    "ModelSummary",
    "Prompter",
    "Question",
    "TextEncoder",
    "Upload",
    "abstains",
    "check_folder",
    "class_probabilities",
    "confidence",
    "continue_text",
    "decide",
    "default_questions",
    "describe",
    "digest_model",
    "find_model",
    "find_token",
    "head_inputs",
    "is_exported",
    "load_bundle",
    "load_exported",
    "load_language_model",
    "load_model",
    "load_tokenizer",
    "make_trunk",
    "mean_vectors",
    "merge_adapter",
    "output_layer",
    "parameters_by_depth",
    "plan_upload",
    "pooled_by_depth",
    "position_limit",
    "predict_logits",
    "probabilities",
    "push",
    "quantize",
    "read_bundle",
    "require_causal",
    "save_adapter",
    "save_bundle",
    "save_companions",
    "save_config",
    "set_output_layer",
    "set_trainable",
    "trained_blocks",
    "trained_parameters",
    "two_thirds",
    "write_onnx",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "ALIASES": "catalogue",
        "Anatomy": "anatomy",
        "BundleSettings": "model",
        "CATALOGUE": "catalogue",
        "Decision": "decision",
        "Depths": "depths",
        "Entry": "catalogue",
        "LIKELIEST": "decision",
        "LanguageModel": "causal",
        "Model": "model",
        "ModelSource": "source",
        "ModelSummary": "summary",
        "ONNX": "onnx_network",
        "Prompter": "prompting",
        "Question": "prompting",
        "TextEncoder": "encoding",
        "Upload": "publishing",
        "abstains": "decision",
        "check_folder": "guard",
        "class_probabilities": "prompting",
        "confidence": "decision",
        "continue_text": "causal",
        "decide": "decision",
        "default_questions": "prompting",
        "describe": "summary",
        "digest_model": "source",
        "find_model": "source",
        "find_token": "publishing",
        "head_inputs": "head",
        "is_exported": "bundle",
        "load_bundle": "bundle",
        "load_exported": "bundle",
        "load_language_model": "causal",
        "load_model": "loading",
        "load_tokenizer": "encoding",
        "make_trunk": "trunk",
        "mean_vectors": "trunk",
        "merge_adapter": "adapters",
        "output_layer": "head",
        "parameters_by_depth": "depths",
        "plan_upload": "publishing",
        "pooled_by_depth": "depths",
        "position_limit": "encoding",
        "predict_logits": "predict",
        "probabilities": "predict",
        "push": "publishing",
        "quantize": "onnx_export",
        "read_bundle": "bundle",
        "require_causal": "causal",
        "save_adapter": "adapters",
        "save_bundle": "bundle",
        "save_companions": "bundle",
        "save_config": "bundle",
        "set_output_layer": "head",
        "set_trainable": "trainable",
        "trained_blocks": "trainable",
        "trained_parameters": "trainable",
        "two_thirds": "trunk",
        "write_onnx": "onnx_export",
    },
)
