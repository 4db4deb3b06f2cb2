"""Engines: who runs a language model, steered or not. One contract, one package an engine."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.engines.engine import Answer, Engine, Request, Sampling, requests
    from tacit.engines.transformers.base import Base, load_base
    from tacit.engines.transformers.dialogue import Dialogue
    from tacit.engines.transformers.engine import TransformersEngine, open_engine
    from tacit.engines.transformers.export import Exported, export_adapter

__all__ = [
    "Answer",
    "Base",
    "Dialogue",
    "Engine",
    "Exported",
    "Request",
    "Sampling",
    "TransformersEngine",
    "export_adapter",
    "load_base",
    "open_engine",
    "requests",
]
__getattr__, __dir__ = lazy(__name__, __file__)
