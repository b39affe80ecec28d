"""Other ways to a density of the same data, in the same nats: models without deep latents, and inference without an encoder."""

from taut.evaluation.baselines.table import baselines

__all__ = ["baselines"]
