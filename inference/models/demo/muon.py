"""The optimizers: Muon for the matrices of the layers, Adam for the rest."""

import torch

RATES = (0.02, 4e-3)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton-Schulz steps, for the matrices inside the layers."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, alike in by_shape.items():
                self.step_alike(group, shape, alike)

    def step_alike(self, group, shape, alike):
        """Steps all matrices of one shape together."""
        updates = []
        for p in alike:
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - group["momentum"])
            updates.append(p.grad.lerp(momentum, group["momentum"]))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        for p, update in zip(alike, orthogonal(torch.stack(updates))):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(x):
    """The nearest orthogonal matrices `[N, R, C]`, roughly (Newton-Schulz steps with the coefficients that came with Muon)."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


def optimizers(model):
    """Muon for the matrices of the layers, Adam for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        Muon(matrices, lr=RATES[0]),
        torch.optim.AdamW(others, lr=RATES[1], betas=(0.9, 0.98), weight_decay=0.0),
    ]
