"""Which prior goes with which posterior, and the refusal of pairs that have no divergence."""

from __future__ import annotations

from taut.errors import InputError
from taut.posteriors import Posterior
from taut.priors import ConditionalNormal, Prior, StandardNormal

__all__ = ["default_prior", "fits", "require_pair"]

_NAMES = {
    "real": "real numbers",
    "sphere": "points of the unit sphere",
    "categories": "categories",
    "bits": "zeros and ones",
}


def fits(prior: Prior, posterior: Posterior) -> bool:
    """Whether KL(q ‖ p) exists, and can be had while training."""
    return prior.space in (None, posterior.space) and not _obstacle(prior, posterior)


def default_prior(posterior: Posterior, top: bool) -> Prior:
    """The plainest prior of a posterior's space: what stands when the user names none."""
    if posterior.space == "real" and not posterior.heavy:
        return StandardNormal() if top or (posterior.reads_prior and not posterior.follows) else ConditionalNormal()
    plain = {"real": "Cauchy", "sphere": "UniformSphere", "categories": "Categorical", "bits": "Bernoulli"}
    return Prior.members[plain[posterior.space]]()


def require_pair(prior: Prior, posterior: Posterior, latents: int) -> None:
    """Refuse a prior and a posterior that have no divergence.

    Raises:
        InputError: naming the pair and what fits each.
    """
    posterior.check(latents)
    if fits(prior, posterior):
        return
    p, q = type(prior).__name__, type(posterior).__name__
    if prior.space not in (None, posterior.space):
        why = f"{q} draws {_NAMES[posterior.space]}, and the {p} prior is of {_NAMES[prior.space]}"
    else:
        why = _obstacle(prior, posterior)
    priors = [name for name, member in sorted(Prior.members.items()) if member.alone and fits(member(), posterior)]
    posteriors = [name for name, member in sorted(Posterior.members.items()) if fits(prior, member())]
    mend = f"with {q} go the priors {', '.join(priors)}; with {p} the posteriors {', '.join(posteriors)}"
    raise InputError("model.posterior", why, mend)


def _obstacle(prior: Prior, posterior: Posterior) -> str:
    """Why two densities of one space have no divergence; nothing if they have."""
    p, q = type(prior).__name__, type(posterior).__name__
    if posterior.heavy and not prior.heavy:
        return f"the tails of {q} are so heavy that its divergence from the {p} prior is infinite"
    if prior.reads_encoder and not posterior.weighable:
        return f"{p} mixes posteriors, and {q} has no density to mix while training"
    if posterior.closed and not prior.factorised:
        return f"{q} is trained on a divergence in closed form, and has none from {p}"
    if posterior.follows and not prior.independent:
        return f"{q} is placed by a normal of independent elements, which the {p} prior is not"
    if posterior.reads_prior and not (posterior.follows or prior.normal):
        return f"{q} promises a rate against one normal that nothing moves, which the {p} prior is not"
    return ""
